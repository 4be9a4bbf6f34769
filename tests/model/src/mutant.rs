//! Wrong protocols, each of which the model has to refute.

/// One thing done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    // The writer.
    /// Seals without looking at tombs and packs again.
    NoCheckBeforeSeal,
    /// Looks at tombs and packs, and only then puts the manifest.
    CheckBeforeIntent,
    /// Puts manifest and seal together, after the check.
    IntentAndSealInOne,
    /// The tombs of the check are those of the beginning: the store does not show what was written before.
    StaleListing,
    /// Lists packs, then tombs, while collectors drop tombs after a sweep.
    TombsDroppedPacksListedFirst,
    /// Reports, and only then lists revocations.
    SuccessBeforeRevocationCheck,
    /// Does not list revocations.
    NoRevocationCheck,
    /// Does not heed that its manifest was condemned, only that it was revoked.
    CondemnedManifestIgnored,
    /// Does not heed that its root or its list was condemned.
    CondemnedListIgnored,
    /// What is written again gets the name that it had, and counts as new.
    PackNamesReused,
    /// A pack that the index tells of counts as there.
    IndexAsProof,

    // The collector.
    /// Deletes by the listing from before it condemned.
    NoListingAfterCondemn,
    /// Lists seals first: revokes what had no seal before it was condemned.
    SealsListedBeforeManifests,
    /// Revokes a manifest without having condemned it.
    RevokedAtOnce,
    /// Takes back the condemnation of what turned out to be live.
    CondemnationWithdrawn,
    /// Deletes what somebody condemned after the manifests were listed.
    CondemnedAfterManifests,
    /// A manifest is superseded as soon as the superseding one is there.
    SupersededBeforeSeal,
    /// A revoked manifest supersedes.
    RevokedSupersedes,
    /// A condemned manifest supersedes, though it may be revoked yet.
    CondemnedSupersedes,
    /// Deletes roots that no listed manifest needs, and condemns none.
    RootsSweptFreely,
    /// Deletes lists of which every pack is condemned, where replicators come.
    ListsSweptInReplica,
    /// Deletes lists that no listed manifest needs, and condemns none.
    ListsSweptFreely,

    // Forget and undo.
    /// The merged forget leaves out what was swept already.
    ForgetLostInMerge,
    /// Deletes the forgets that it merges before the merged one is there.
    ForgetsDroppedBeforeMerge,
    /// The merged forget is a new one, despite which nothing stands.
    ForgetsMergedWithoutNumbers,
    /// Deletes forgets that it merged without looking for pins after the merged one is there.
    PinsIgnoredInMerge,
    /// Undoes a forget with the root that the snapshot had.
    UndoKeepsRoot,
    /// Undoes a forget without looking whether the packs are still there.
    UndoAfterSweep,
    /// A pin brings back what was forgotten before.
    PinBringsBack,
    /// The collector takes pins from the listing in which it sees forgets, page by page.
    PinsListedWithForgets,
    /// A compaction does not say despite which forgets the snapshot stands.
    DespiteLostInCompaction,

    // The replicator.
    /// Puts no intent.
    NoIntent,
    /// Takes away its intent as soon as a larger one is there, which a listing by pages may both miss.
    IntentReplaced,
    /// Puts a collected pack again under the generation that it had.
    GenerationReused,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::NoCheckBeforeSeal,
        Self::CheckBeforeIntent,
        Self::IntentAndSealInOne,
        Self::StaleListing,
        Self::TombsDroppedPacksListedFirst,
        Self::SuccessBeforeRevocationCheck,
        Self::NoRevocationCheck,
        Self::CondemnedManifestIgnored,
        Self::CondemnedListIgnored,
        Self::PackNamesReused,
        Self::IndexAsProof,
        Self::NoListingAfterCondemn,
        Self::SealsListedBeforeManifests,
        Self::RevokedAtOnce,
        Self::CondemnationWithdrawn,
        Self::CondemnedAfterManifests,
        Self::SupersededBeforeSeal,
        Self::RevokedSupersedes,
        Self::CondemnedSupersedes,
        Self::RootsSweptFreely,
        Self::ListsSweptFreely,
        Self::ListsSweptInReplica,
        Self::ForgetLostInMerge,
        Self::ForgetsDroppedBeforeMerge,
        Self::ForgetsMergedWithoutNumbers,
        Self::PinsIgnoredInMerge,
        Self::UndoKeepsRoot,
        Self::UndoAfterSweep,
        Self::DespiteLostInCompaction,
        Self::PinBringsBack,
        Self::PinsListedWithForgets,
        Self::NoIntent,
        Self::IntentReplaced,
        Self::GenerationReused,
    ];
}
