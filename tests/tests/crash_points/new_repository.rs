//! `init`, interrupted. Either there is no repository, and the next attempt makes one; or there is one, and the recovery
//! identity that was shown before opens it.

use fardel_engine::Error;
use fardel_engine::bridge::Blocking;
use fardel_engine::keyring::Material;
use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::digest::Hashes;
use fardel_tests::crash::medium::{InUse, Medium, Plan};
use fardel_tests::crash::program::{self, Keys, Manner};
use fardel_tests::crash::tally::Counts;
use fardel_tests::crash::verify::{Expected, Known, Verifier};
use fardel_tests::disk_tree::temporary_folder;

use super::LOSSES;
use super::scenario::{Scenario, chosen};

/// The keys that were shown before there was a repository, and whether it was published.
type Made = Result<(Keys, Result<Keys>)>;

/// Makes a repository.
pub fn make(in_use: &InUse) -> Made {
    program::begin(&Blocking::new(in_use.store.clone()))
}

/// Makes a repository as planned, and looks at the states that are left.
///
/// # Errors
/// When one is not as it must be.
pub fn run(in_use: InUse, plan: Plan, scenario: &Scenario, mut chance: Chance) -> Result<Counts> {
    let made = make(&in_use);
    let calls = in_use.recording().calls();
    if plan == Plan::Well {
        made.as_ref().map_err(Clone::clone)?.1.as_ref().map_err(Clone::clone)?;
    }
    let moments = in_use.end();
    let (mut counts, mut hashes) = (Counts { runs: 1, ..Counts::default() }, Hashes::default());
    let (mut states, mut contents) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    for at in chosen(plan, moments.len(), &mut chance) {
        let acknowledged = at >= calls && matches!(made, Ok((_, Ok(_))));
        for state in moments.states(at, LOSSES, &mut chance) {
            let torn = plan.tears() || state.crash.tears();
            let found = state.medium.digests(&mut hashes);
            if !states.insert((found.whole, acknowledged)) {
                continue;
            }
            counts.states += 1;
            drop(state.medium.open(Plan::Well).end());
            if !state.medium.is_tidy() {
                return Err(format!(
                    "{plan:?}, call {at} of {calls}, {:?}: temporaries are left",
                    state.crash
                ));
            }
            if contents.insert((found.objects, acknowledged)) {
                counts.contents += 1;
                look(&state.medium, &made, acknowledged, torn, scenario, &mut chance)
                    .map_err(|why| format!("{plan:?}, call {at} of {calls}, {:?}: {why}", state.crash))?;
            }
        }
    }
    Ok(counts)
}

fn look(
    medium: &Medium,
    made: &Made,
    acknowledged: bool,
    torn: bool,
    scenario: &Scenario,
    chance: &mut Chance,
) -> Result {
    let cache = temporary_folder("cache");
    let opened = made.as_ref().ok().map(|(keys, _)| {
        let options = fardel_engine::OpenOptions {
            material: Some(Material::Identities(program::identities(&keys.recovery))),
            cache: cache.path().to_owned(),
            display: "the test's".into(),
            pinned: Some(keys.id),
        };
        let opened = fardel_engine::Repository::open(medium.open(Plan::Well).store, options);
        opened.map(|(repo, _)| (keys.clone(), repo))
    });
    let keys = match opened {
        Some(Ok((keys, repo))) if repo.keys().root.is_some() => keys,
        Some(Ok(_)) => return Err("the recovery identity does not open the root key".into()),
        Some(Err(error)) if acknowledged => return Err(format!("it was acknowledged, and is lost: {error}")),
        Some(Err(Error::NoRepository(_))) | None => again(medium)?,
        // A bad store tore the card itself: there is nothing else yet that could be lost.
        Some(Err(_)) if torn => again(medium)?,
        Some(Err(error)) => return Err(error.to_string()),
    };
    let (known, site) = (Known::default(), &scenario.site);
    let verifier = Verifier { keys: &keys, site, known: &known };
    let mut expected = Expected { reported: Vec::new(), torn };
    verifier.verify(medium.fork().open(Plan::Well).store, cache.path(), &expected, chance)?;
    let in_use = medium.open(Plan::Well);
    let manner = Manner { tree: false, ..Manner::plain() };
    let ran = program::backup(&in_use, &keys, cache.path(), site, scenario.view(), &manner);
    drop(in_use.end());
    ran.outcome.map_err(|why| format!("the first backup: {why}"))?;
    expected.reported.extend(ran.reported);
    let store = medium.durable().open(Plan::Well).store;
    verifier.verify(store, cache.path(), &expected, chance).map_err(|why| format!("the first backup: {why}"))
}

fn again(medium: &Medium) -> Result<Keys> {
    make(&medium.open(Plan::Well)).and_then(|(_, made)| made).map_err(|why| format!("init again: {why}"))
}
