//! "Did you mean": the nearest of a set of names.

/// The candidate nearest to `word`, when it is near enough to be a slip of the fingers.
///
/// Near is a Damerau-Levenshtein distance of at most a third of the word's length, at least 1.
/// Of two equally near, the first wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        assert_eq!(nearest("biuld", ["test", "build"]), Some("build"));
        assert_eq!(nearest("inptus", ["inputs", "outputs"]), Some("inputs"));
        assert_eq!(nearest("deploy", ["test", "build"]), None);
    }
}
