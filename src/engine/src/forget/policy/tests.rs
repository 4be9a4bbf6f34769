use super::*;

const NOW: &str = "2026-11-23T14:00:00Z";

fn candidate(seq: u32, time: &str) -> Candidate {
    Candidate {
        id: SnapshotId(*blake3::hash(&seq.to_le_bytes()).as_bytes()),
        writer: WriterId([1; 8]),
        seq,
        time: time.parse().unwrap(),
        host: "laptop".into(),
        sources: vec![b"/home".to_vec()],
        tags: Vec::new(),
        partial: false,
        run: Nonce([seq as u8; 16]),
        pinned: false,
    }
}

/// One at noon of each of so many days up to the 22nd.
fn days(count: u32) -> Vec<Candidate> {
    let newest: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let ago = |days: u32| newest - jiff::SignedDuration::from_hours(24 * i64::from(days));
    (0..count).map(|i| candidate(i + 1, &ago(count - 1 - i).to_string())).collect()
}

fn decided(policy: &Policy, candidates: &[Candidate]) -> Vec<Decision> {
    decide(policy, candidates, NOW.parse().unwrap(), &TimeZone::UTC)
}

fn kept(policy: &Policy, candidates: &[Candidate]) -> Vec<u32> {
    let decisions = decided(policy, candidates);
    candidates.iter().zip(&decisions).filter(|(_, d)| d.keep).map(|(c, _)| c.seq).collect()
}

#[test]
fn the_newest_of_each_period_are_kept() {
    let all = days(100);
    let daily = Policy { counts: [0, 3, 0, 0, 0], ..Policy::default() };
    assert_eq!(kept(&daily, &all), [98, 99, 100]);
    let last = Policy { last: 2, ..Policy::default() };
    assert_eq!(kept(&last, &all), [99, 100]);
    // The 22nd is a Sunday: the newest of each week before it are Sundays, too.
    let weekly = Policy { counts: [0, 0, 3, 0, 0], ..Policy::default() };
    assert_eq!(kept(&weekly, &all), [86, 93, 100]);
    let monthly = Policy { counts: [0, 0, 0, 9, 0], ..Policy::default() };
    // The last of August, September and October, and the newest.
    assert_eq!(kept(&monthly, &all), [17, 47, 78, 100]);
    let yearly = Policy { counts: [0, 0, 0, 0, 9], ..Policy::default() };
    assert_eq!(kept(&yearly, &all), [100]);
    let hourly = Policy { counts: [200, 0, 0, 0, 0], ..Policy::default() };
    assert_eq!(kept(&hourly, &all).len(), 100);
}

#[test]
fn several_in_a_period_leave_the_newest() {
    let all = [
        candidate(1, "2026-11-22T10:10:00Z"),
        candidate(2, "2026-11-22T10:50:00Z"),
        candidate(3, "2026-11-22T11:10:00Z"),
    ];
    let policy = |counts| Policy { counts, ..Policy::default() };
    assert_eq!(kept(&policy([5, 0, 0, 0, 0]), &all), [2, 3]);
    assert_eq!(kept(&policy([0, 5, 0, 0, 0]), &all), [3]);
    let reasons = &decided(&policy([5, 5, 0, 0, 0]), &all)[2].reasons;
    assert_eq!(*reasons, [Reason::Period(Period::Hour), Reason::Period(Period::Day)]);
}

#[test]
fn within_is_told_from_the_newest() {
    let all = days(30);
    let within = Policy { within: Some(Span::new().days(2)), ..Policy::default() };
    assert_eq!(kept(&within, &all), [28, 29, 30]);
    let mut within_each = [None; 5];
    within_each[2] = Some(Span::new().days(14));
    assert_eq!(kept(&Policy { within_each, ..Policy::default() }, &all), [16, 23, 30]);
    let ever = Policy { within: Some(Span::new().years(15_000)), ..Policy::default() };
    assert_eq!(kept(&ever, &all).len(), 30);
}

#[test]
fn a_flood_of_one_signer_pushes_nobody_elses_out() {
    let mut all = days(3);
    all.extend((0..50).map(|i| Candidate {
        writer: WriterId([2; 8]),
        seq: 1000 + i,
        ..candidate(4, "2026-11-22T13:00:00Z")
    }));
    let policy = Policy { last: 3, counts: [3; 5], ..Policy::default() };
    let own: Vec<_> = kept(&policy, &all).into_iter().filter(|seq| *seq < 1000).collect();
    assert_eq!(own, [1, 2, 3]);
    // Nor does it when nothing else makes a group.
    let group_by = GroupBy { host: false, sources: false, tags: false };
    let own = kept(&Policy { group_by, ..policy }, &all).into_iter().filter(|seq| *seq < 1000).count();
    assert_eq!(own, 3);
}

#[test]
fn a_clock_that_was_ahead_pushes_nothing_out() {
    let mut all = days(3);
    all.extend((10..20).map(|seq| candidate(seq, &format!("2031-01-{seq}T00:00:00Z"))));
    all.push(candidate(20, "2026-11-23T12:00:00Z"));
    let policy = Policy { last: 2, counts: [0, 3, 0, 0, 0], ..Policy::default() };
    let kept = kept(&policy, &all);
    assert_eq!(kept, [2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
    assert_eq!(decided(&policy, &all)[3].reasons, [Reason::ClockAhead]);
}

#[test]
fn a_clock_that_went_back_does_not_make_the_newest_the_oldest() {
    let mut all = days(5);
    all.push(candidate(6, "1970-01-01T00:00:00Z"));
    assert_eq!(kept(&Policy { last: 2, ..Policy::default() }, &all), [5, 6]);
}

#[test]
fn pins_and_tags_are_kept() {
    let mut all = days(5);
    all[0].pinned = true;
    all[1].tags = vec!["a".into(), "b".into()];
    all[2].tags = vec!["b".into()];
    let tags = vec![vec!["a".to_owned(), "b".to_owned()]];
    let policy = Policy { last: 1, tags, ..Policy::default() };
    assert_eq!(kept(&policy, &all), [1, 2, 5]);
    assert_eq!(decided(&policy, &all)[1].reasons, [Reason::Tagged]);
}

#[test]
fn a_group_never_loses_its_last_snapshot() {
    let mut all = days(3);
    all[2].partial = true;
    all[2].sources.push(b"/more".to_vec());
    let policy = Policy { tags: vec![vec!["nobody".into()]], ..Policy::default() };
    // The unfinished one makes a group of its own, since it has another source.
    assert_eq!(kept(&policy, &all), [2, 3]);
    assert_eq!(decided(&policy, &all)[1].reasons, [Reason::Only]);
}

#[test]
fn a_checkpoint_goes_when_a_finished_backup_replaces_it() {
    let mut all = days(6);
    // Of an interrupted run, finished by another one.
    all[0].partial = true;
    // Two of one run: the later one replaces the earlier.
    (all[2].partial, all[3].partial) = (true, true);
    all[3].run = all[2].run;
    all[2].sources = vec![b"/other".to_vec()];
    all[3].sources = vec![b"/other".to_vec()];
    // Nothing finished is newer.
    all[5].partial = true;
    let policy = Policy { last: 9, ..Policy::default() };
    assert_eq!(kept(&policy, &all), [2, 4, 5, 6]);
    let decisions = decided(&policy, &all);
    assert_eq!(decisions[0].reasons, [Reason::Replaced]);
    assert_eq!(decisions[5].reasons, [Reason::Unfinished]);
    // A checkpoint takes no place of a finished one.
    assert_eq!(kept(&Policy { last: 1, ..Policy::default() }, &all), [4, 5, 6]);
    // Another signer's backup replaces nothing.
    let mut others = vec![all[0].clone(), all[1].clone()];
    others[1].writer = WriterId([9; 8]);
    assert_eq!(kept(&policy, &others), [1, 2]);
}

#[test]
fn groups_are_numbered_as_they_come() {
    let mut all = days(4);
    all[1].host = "server".into();
    all[3].sources = vec![b"/b".to_vec(), b"/a".to_vec()];
    let groups: Vec<_> =
        decided(&Policy { last: 1, ..Policy::default() }, &all).iter().map(|d| d.group).collect();
    assert_eq!(groups, [0, 1, 0, 2]);
    let group_by = GroupBy { host: false, sources: false, tags: true };
    all[2].tags = vec!["x".into()];
    let policy = Policy { last: 1, group_by, ..Policy::default() };
    let groups: Vec<_> = decided(&policy, &all).iter().map(|d| d.group).collect();
    assert_eq!(groups, [0, 0, 1, 0]);
}
