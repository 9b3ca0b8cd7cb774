//! Output on its way to the coordinator: [`Lines`].

/// Some whole lines of one task's output, without their ends.
///
/// Hardly larger than what was written: the shortest lines come by the ten thousand in one piece,
/// and a queue may hold many pieces.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where in `bytes` each line ends.
    ends: Vec<usize>,
}

impl Lines {
    /// Adds one line.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each line, in the order written.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let spans = starts.zip(&self.ends);
        spans.map(|(start, &end)| &self.bytes[start..end])
    }
}

impl<'a> FromIterator<&'a [u8]> for Lines {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(lines: I) -> Self {
        let mut all = Self::default();
        lines.into_iter().for_each(|line| all.push(line));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_as_they_went_in() {
        let check = |texts: &[&str]| {
            let lines: Lines = texts.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(lines.is_empty(), texts.is_empty());
            let found: Vec<&[u8]> = lines.iter().collect();
            let expected: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(found, expected);
        };
        check(&[]);
        check(&[""]);
        check(&["a", "", "bc", ""]);
    }
}
