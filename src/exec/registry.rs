//! The process trees that are alive now: [`Registry`]. Names them, knows their leaders, and keeps
//! the table that the guardian reads when this process is gone.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, getpid};

use crate::exec::cancel::Waker;

/// The trees that are alive.
#[derive(Debug)]
pub(super) struct Registry {
    session: String,
    table: OwnedFd,
    // Guards who is alive and what can be used again. Leaf lock, held for one look or change.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    trees_started: u64,
    idle_wakers: Vec<Arc<Waker>>,
    helpers: Vec<Pid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Starting,
    Alive(Pid),
    /// Dead but for its leader, which is not reaped.
    Resting(Pid),
}

/// A tree's place in the registry.
#[derive(Debug)]
pub(super) struct Place {
    index: usize,
    /// The element that names the tree, unique on this machine.
    pub(super) id: String,
}

/// What is known of a child of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It leads a tree that is alive, or is a helper of ours.
    Yes,
    /// It does not.
    No,
    /// A tree is just being started, and it may be its leader.
    Perhaps,
}

impl Registry {
    pub(super) fn new() -> io::Result<Self> {
        // Not a secret: it only must differ from that of any other runner on the machine.
        let random = RandomState::new().hash_one(getpid().as_raw_pid());
        Ok(Self {
            session: format!("{}-{random:016x}", getpid()),
            table: memfd_create("watchrun-trees", MemfdFlags::CLOEXEC)?,
            state: Mutex::default(),
        })
    }

    /// What the ids of all trees of this registry start with, up to a dot.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// The table for another process to read.
    pub(super) fn open_table(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.table.as_raw_fd()))
    }

    /// Takes a place for a tree that is about to start.
    pub(super) fn reserve(&self) -> Place {
        let mut state = self.lock();
        state.trees_started += 1;
        let id = format!("{}.{}", self.session, state.trees_started);
        let free = state.slots.iter().position(|slot| *slot == Slot::Free);
        let index = free.unwrap_or(state.slots.len());
        if index == state.slots.len() {
            state.slots.push(Slot::Starting);
        } else {
            state.slots[index] = Slot::Starting;
        }
        Place { index, id }
    }

    /// Notes the leader of a tree that has started.
    pub(super) fn started(&self, place: &Place, leader: Pid) {
        self.lock().slots[place.index] = Slot::Alive(leader);
        self.write(place, leader.as_raw_pid());
    }

    /// Notes that all of the tree is dead, and who is in its group from now on is none of it: a
    /// helper that is waited for.
    pub(super) fn rests(&self, place: &Place, leader: Pid) {
        self.lock().slots[place.index] = Slot::Resting(leader);
    }

    /// Whether `leader` leads a tree that is alive.
    pub(super) fn is_alive(&self, leader: Pid) -> bool {
        self.lock().slots.contains(&Slot::Alive(leader))
    }

    /// Whether `place` is the only tree there is.
    pub(super) fn is_alone(&self, place: &Place) -> bool {
        let state = self.lock();
        let mut others = state
            .slots
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != place.index);
        others.all(|(_, slot)| *slot == Slot::Free)
    }

    /// Takes the leader out of the table. To be called before it is reaped: the guardian must not
    /// find a number there that may have become another process's.
    pub(super) fn dead(&self, place: &Place) {
        self.write(place, 0);
    }

    /// Gives a place back. To be called after the leader is reaped: as long as it is a zombie,
    /// the others must not take it for an orphan and reap it themselves.
    pub(super) fn ended(&self, place: &Place) {
        self.lock().slots[place.index] = Slot::Free;
    }

    pub(super) fn knows(&self, pid: Pid) -> Known {
        let state = self.lock();
        let leads = |slot: &Slot| *slot == Slot::Alive(pid) || *slot == Slot::Resting(pid);
        if state.slots.iter().any(leads) || state.helpers.contains(&pid) {
            Known::Yes
        } else if state.slots.contains(&Slot::Starting) {
            Known::Perhaps
        } else {
            Known::No
        }
    }

    pub(super) fn add_helper(&self, pid: Pid) {
        self.lock().helpers.push(pid);
    }

    pub(super) fn remove_helper(&self, pid: Pid) {
        self.lock().helpers.retain(|helper| *helper != pid);
    }

    /// A waker that nobody else has.
    pub(super) fn take_waker(&self) -> io::Result<Arc<Waker>> {
        if let Some(waker) = self.lock().idle_wakers.pop() {
            return Ok(waker);
        }
        Ok(Arc::new(Waker::new()?))
    }

    pub(super) fn return_waker(&self, waker: Arc<Waker>) {
        waker.clear();
        self.lock().idle_wakers.push(waker);
    }

    /// One number per place. The guardian reads it only after this process has died, so a start
    /// costs one write and wakes nobody.
    fn write(&self, place: &Place, leader: i32) {
        let offset = place.index as u64 * 4;
        // It cannot fail short of a machine without memory; the guardian then still has the marks
        // in the environments to go by.
        let _full = rustix::io::pwrite(&self.table, &leader.to_ne_bytes(), offset);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    #[test]
    fn a_place_is_used_again_and_its_name_is_not() {
        let registry = Registry::new().unwrap();
        let first = registry.reserve();
        assert_eq!(registry.knows(pid(7)), Known::Perhaps);
        registry.started(&first, pid(7));
        let second = registry.reserve();
        registry.started(&second, pid(8));
        assert!(!registry.is_alone(&first));
        registry.ended(&first);
        assert!(registry.is_alone(&second));
        let third = registry.reserve();
        assert_eq!((first.index, second.index, third.index), (0, 1, 0));
        assert_ne!(first.id, third.id);
        assert!(third.id.starts_with(&format!("{}.", registry.session())));
    }

    #[test]
    fn the_table_holds_the_living_leaders_and_can_be_read() {
        let registry = Registry::new().unwrap();
        let places = [registry.reserve(), registry.reserve()];
        registry.started(&places[0], pid(258));
        registry.started(&places[1], pid(9));
        registry.dead(&places[1]);
        registry.rests(&places[1], pid(9));
        assert_eq!(registry.knows(pid(9)), Known::Yes);
        assert!(registry.is_alive(pid(258)) && !registry.is_alive(pid(9)));
        registry.ended(&places[1]);
        let mut table = Vec::new();
        registry
            .open_table()
            .unwrap()
            .read_to_end(&mut table)
            .unwrap();
        assert_eq!(table, [258_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat());
        assert_eq!(registry.knows(pid(258)), Known::Yes);
        assert_eq!(registry.knows(pid(9)), Known::No);
    }
}
