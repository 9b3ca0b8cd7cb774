//! The one door to rayon's global pool: passes over many items, [`map`], and steps that nobody
//! waits for, [`spawn`].
//!
//! Where the system gives no threads for the pool, the calling thread does its passes by itself;
//! [`trouble`] says so.

use std::cell::Cell;
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use rayon::prelude::*;
use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

/// What went wrong when the pool was made. Made once: rayon never tries again.
static POOL: OnceLock<Option<String>> = OnceLock::new();

thread_local! {
    static SHARES: Cell<bool> = const { Cell::new(true) };
}

/// Makes the calling thread do its passes by itself from now on.
///
/// For threads of another rayon pool: a pass there would be spread over that pool, and while it
/// waits for its parts it would take up whatever else waits in that pool, however long that takes.
pub(crate) fn keep_to_this_thread() {
    SHARES.set(false);
}

/// `each` of every item, in order; on several cores when there is `much` to do.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    much: bool,
    each: impl Fn(&T) -> R + Sync + Send,
) -> Vec<R> {
    if much && items.len() > 1 && SHARES.get() && n_threads() > 1 {
        items.par_iter().map(each).collect()
    } else {
        items.iter().map(each).collect()
    }
}

/// Does `step` on the pool, and does not wait for it. Without a pool it gets a thread of its own,
/// which ends with it; where there is none either, it is done here and now.
pub(crate) fn spawn(step: impl FnOnce() + Send + 'static) {
    if has_pool() {
        return rayon::spawn(step);
    }
    let here = Arc::new(OneStep(Mutex::new(Some(step))));
    let there = Arc::clone(&here);
    let thread = thread::Builder::new().name("step".to_owned());
    if thread.spawn(move || there.run()).is_err() {
        here.run();
    }
}

/// How many threads share a pass.
pub(crate) fn n_threads() -> usize {
    if has_pool() {
        rayon::current_num_threads()
    } else {
        1
    }
}

/// Why the pool was asked for and is not there. A run says so at its end; a look without a run,
/// as for `check`, does not: it is over by then.
pub(crate) fn trouble() -> Option<&'static str> {
    POOL.get()?.as_deref()
}

/// A step that is done by who takes it first.
struct OneStep<F>(
    // Guards the step. Leaf lock, held to take it.
    Mutex<Option<F>>,
);

impl<F: FnOnce()> OneStep<F> {
    fn run(&self) {
        let step = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(step) = step {
            step();
        }
    }
}

fn has_pool() -> bool {
    let made = POOL.get_or_init(|| problem(ThreadPoolBuilder::new().build_global()));
    made.is_none()
}

/// Why there is no pool after it was `built`.
fn problem(built: Result<(), ThreadPoolBuildError>) -> Option<String> {
    // Without a cause, the error is that somebody else has built the pool before: all the same.
    Some(built.err()?.source()?.to_string())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_thread_that_keeps_to_itself_shares_nothing() {
        let own = thread::spawn(|| {
            keep_to_this_thread();
            let ids = map(&[(); 100], true, |()| thread::current().id());
            ids.iter().all(|id| *id == thread::current().id())
        });
        assert!(own.join().unwrap());
    }

    #[test]
    fn there_is_no_pool_only_where_no_thread_can_be_started() {
        let refuse = |_| Err(io::Error::from(io::ErrorKind::WouldBlock));
        let refused = ThreadPoolBuilder::new().spawn_handler(refuse).build();
        assert!(problem(refused.map(drop)).is_some());
        // The second at the latest is told that there is one.
        for _ in 0..2 {
            assert_eq!(problem(ThreadPoolBuilder::new().build_global()), None);
        }
    }

    #[test]
    fn other_passes_are_shared_and_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(map(&items, true, |n| n + 1), (1..=1000).collect::<Vec<_>>());
        if n_threads() < 2 {
            return;
        }
        // Neither returns before the other has begun.
        let both = Arc::new(Barrier::new(2));
        map(&[(); 2], true, |()| both.wait().is_leader());
    }
}
