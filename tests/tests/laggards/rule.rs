//! How the collector of the model decides: as Fardel does, or by a weaker rule that has to lose something.

/// What is left out of what Fardel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    Ours,
    /// Acknowledgements are not heeded.
    NoAcks,
    /// The newest acknowledgement keeps, whether it counts or not.
    NewestAlone,
    /// Where none counts, nothing is kept, and nobody waits.
    NoneWhenNoneCounts,
    /// What is condemned counts like anything else.
    DoomedCounts,
    /// Forgotten manifests are swept without being announced.
    Unannounced,
    /// Without acknowledgements the usual grace holds, and no generation is kept.
    Impatient,
}

impl Rule {
    /// The weaker ones for replicas that acknowledge, and for those that do not.
    pub const WEAKER: [(Self, bool); 6] = [
        (Self::NoAcks, true),
        (Self::NewestAlone, true),
        (Self::NoneWhenNoneCounts, true),
        (Self::DoomedCounts, true),
        (Self::Unannounced, true),
        (Self::Impatient, false),
    ];
}
