//! A repository that is interrupted again and again, by both hosts, whatever they save.

use fardel_tests::crash::Result;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::medium::{Medium, Plan};
use fardel_tests::crash::program::{self, Manner, Reported};
use fardel_tests::crash::site::{Site, VERSIONS};
use fardel_tests::crash::tally::Counts;
use fardel_tests::crash::verify::{Known, Verifier};
use fardel_tests::disk_tree::temporary_folder;

use super::explorer::{Again, Explorer};

/// Crashes in the life of one repository; then another begins, since each may add snapshots.
const STEPS: u64 = 8;
/// Ways to lose power at one moment.
const LOSSES: u64 = 8;

/// Lets a repository live through crashes, each of which begins where the last one ended.
///
/// # Errors
/// When a state is not as it must be.
pub fn crashes_upon_crashes(site: &Site, seed: u64, number: u64) -> Result<Counts> {
    let mut chance = Chance::of(seed, "chain", number);
    let view = site.view(&format!("chain-{number}")).map_err(|e| e.to_string())?;
    let caches: Vec<_> = (0..2).map(|_| temporary_folder("cache")).collect();
    let (mut medium, keys) = program::repository(2, caches[0].path())?;
    if !number.is_multiple_of(4) {
        medium = medium.on_a_file_system();
    }
    let known = Known::default();
    let (mut counts, mut reported, mut torn) = (Counts::default(), Vec::new(), false);
    for step in 0..STEPS {
        let manner = any(&mut chance);
        let plan = any_plan(&medium, &mut chance);
        let in_words = |why: String| format!("chain {number}, step {step}, {manner:?}, {plan:?}: {why}");
        torn |= plan.tears();
        let cache = caches[manner.host].path();
        let before = super::explorer::copy(cache);
        let in_use = medium.open(plan);
        let ran = program::backup(&in_use, &keys, cache, site, &view, &manner);
        if plan == Plan::Well {
            ran.outcome.as_ref().map_err(|why| in_words(why.clone()))?;
        }
        reported.extend(ran.reported);
        let moments = in_use.end();
        let at = chance.below(moments.len() as u64) as usize;
        let mut explorer = Explorer::new(
            Verifier { keys: &keys, site, known: &known },
            Again { view: &view, manner },
            [before.path(), cache],
        );
        (explorer.reported, explorer.torn) = (reported.clone(), torn);
        explorer.explore(&moments, at, LOSSES, &mut chance).map_err(in_words)?;
        counts.add(explorer.counts);
        let mut left = moments.states(at, LOSSES, &mut chance);
        let state = left.swap_remove(chance.below(left.len() as u64) as usize);
        torn |= state.crash.tears();
        medium = state.medium;
        reported.retain(|told: &Reported| told.at <= at);
        reported.iter_mut().for_each(|told| told.at = 0);
    }
    Ok(counts)
}

fn any(chance: &mut Chance) -> Manner {
    Manner {
        host: chance.below(2) as usize,
        version: chance.below(VERSIONS as u64) as usize,
        threads: 1 + chance.below(2) as usize,
        checkpoints: chance.one_in(3),
        packs_per_segment: 1 + chance.below(2) as usize,
        tree: !chance.one_in(4),
        stream: !chance.one_in(4),
    }
}

fn any_plan(medium: &Medium, chance: &mut Chance) -> Plan {
    if chance.one_in(2) {
        return Plan::Well;
    }
    let calls = if matches!(medium, Medium::Memory(_)) { 20 } else { 100 };
    let at = chance.below(calls);
    *chance.pick(&Plan::all(medium, at))
}
