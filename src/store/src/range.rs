/// Which bytes of an object are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole object.
    All,
    /// `len` bytes from `start`; both in bytes.
    Span {
        /// First byte.
        start: u64,
        /// How many.
        len: u64,
    },
}

impl ByteRange {
    /// The bytes from `start` up to, not including, `end`.
    #[must_use]
    pub fn between(start: u64, end: u64) -> Self {
        Self::Span { start, len: end.saturating_sub(start) }
    }
}
