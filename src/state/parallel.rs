//! The engine's parallel passes, on rayon's global pool.

use rayon::prelude::*;

/// `each` of every item, in order; on several cores when there is `much` to do.
pub(super) fn map<T: Sync, R: Send>(
    items: &[T],
    much: bool,
    each: impl Fn(&T) -> R + Sync + Send,
) -> Vec<R> {
    if much && items.len() > 1 {
        items.par_iter().map(each).collect()
    } else {
        items.iter().map(each).collect()
    }
}
