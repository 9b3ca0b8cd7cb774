//! Passes over many items, on rayon's global pool: [`map`].

use std::cell::Cell;

use rayon::prelude::*;

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
    if much && items.len() > 1 && SHARES.get() {
        items.par_iter().map(each).collect()
    } else {
        items.iter().map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

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
    fn other_passes_are_shared_and_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(map(&items, true, |n| n + 1), (1..=1000).collect::<Vec<_>>());
        if rayon::current_num_threads() < 2 {
            return;
        }
        // Neither returns before the other has begun.
        let both = Arc::new(Barrier::new(2));
        map(&[(); 2], true, |()| both.wait().is_leader());
    }
}
