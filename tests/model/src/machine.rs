//! The model as `stateright` searches it, and what a counterexample looks like.

use std::fmt;

use stateright::{Checker, Model, Property};

use crate::world::Process;
use crate::{Action, Scope, Set, Violation, World};

/// The state machine of a scope.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How large it is.
    pub scope: Scope,
}

impl Model for Machine {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scope)]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        // What follows upon a violation is of no interest.
        if state.wrong.is_none() {
            state.actions(&self.scope, actions);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        next.act(&self.scope, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(INVARIANTS, |_, world: &World| world.wrong.is_none())]
    }
}

const INVARIANTS: &str = "the invariants hold";

/// What a search found.
#[derive(Debug)]
pub struct Searched {
    /// Different states.
    pub states: usize,
    /// Length of the longest path that was looked at.
    pub depth: usize,
    /// The counterexample, if there is one.
    pub trace: Option<Trace>,
}

impl Machine {
    /// Looks at every state, nearest first; up to so many steps when a depth is given.
    #[must_use]
    pub fn search(&self, threads: usize, depth: Option<usize>) -> Searched {
        let builder = self.clone().checker().threads(threads);
        let builder = match depth {
            Some(depth) => builder.target_max_depth(depth),
            None => builder,
        };
        let found = builder.spawn_bfs().join();
        let trace = found.discovery(INVARIANTS).map(|path| {
            let actions = path.into_actions();
            Trace::of(&self.scope, &actions)
        });
        Searched { states: found.unique_state_count(), depth: found.max_depth(), trace }
    }
}

/// A run, step by step.
#[derive(Clone, Debug)]
pub struct Trace {
    /// How it ends.
    pub violation: Option<Violation>,
    lines: Vec<String>,
}

impl Trace {
    /// Runs these actions again, and tells what each does.
    #[must_use]
    pub fn of(scope: &Scope, actions: &[Action]) -> Self {
        let mut world = World::new(scope);
        let mut lines = Vec::new();
        for action in actions {
            let before = world.clone();
            world.act(scope, *action);
            lines.push(format!("{}{}", who(scope, &before, *action), changes(&before, &world)));
        }
        Self { violation: world.wrong, lines }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.lines.iter().enumerate() {
            writeln!(f, "{:3}. {line}", i + 1)?;
        }
        write!(f, "     => {:?}", self.violation)
    }
}

/// Which step of whom this is.
fn who(scope: &Scope, before: &World, action: Action) -> String {
    match action {
        Action::Step { process, choice } => {
            let role = format!("{:?}", scope.roles[process as usize]);
            let step = match &before.processes[process as usize] {
                Process::Writer(it) => format!("{:?}", it.step),
                Process::Replicator(it) => format!("{:?}", it.step),
                Process::Collector(it) => format!("{:?}", it.step),
                Process::Merger(it) => format!("{:?}", it.step),
                Process::Pinner(it) => format!("{:?}", it.step),
            };
            let skipped = if step == "Revoke" && choice > 0 { " (left out)" } else { "" };
            format!("{} {process}: {}{skipped}", snake(&role), snake(&step))
        }
        Action::Forget(snapshot) => format!("somebody forgets snapshot {snapshot}"),
        Action::LatePut(object) => format!("late put: {object:?}"),
        Action::LateDelete(object) => format!("late delete: {object:?}"),
    }
}

/// What differs in the store.
fn changes(before: &World, after: &World) -> String {
    let mut text = String::new();
    let mut tell = |what: &str, was: Set, is: Set| {
        for (sign, set) in [("+", is - was), ("-", was - is)] {
            set.for_each(|id| text.push_str(&format!("; {sign}{what} {id}")));
        }
    };
    let (was, is) = (&before.store, &after.store);
    tell("pack", was.packs, is.packs);
    tell("list", was.lists, is.lists);
    tell("root", was.roots, is.roots);
    tell("index of pack", was.index, is.index);
    tell("manifest", was.manifests, is.manifests);
    tell("seal", was.seals, is.seals);
    tell("intent", was.intents, is.intents);
    let (was, is) = (was.tombs(), is.tombs());
    tell("condemned pack", was.condemned, is.condemned);
    tell("condemned manifest", was.condemned_manifests, is.condemned_manifests);
    tell("condemned root", was.condemned_roots, is.condemned_roots);
    tell("condemned list", was.condemned_lists, is.condemned_lists);
    tell("revoked manifest", was.revoked, is.revoked);
    tell("revoked intent", was.revoked_intents, is.revoked_intents);
    tell("forget", was.forgets, is.forgets);
    tell("pin of snapshot", was.pins, is.pins);
    tell("unpin of snapshot", was.unpins, is.unpins);
    tell("reported snapshot", before.reported, after.reported);
    for manifest in after.store.manifests - before.store.manifests {
        let needs = after.contents[manifest as usize];
        let superseded = needs
            .supersedes
            .map(|old| format!(", supersedes {old}, despite forgets {:?}", needs.despite))
            .unwrap_or_default();
        text.push_str(&format!(
            " (snapshot {}, packs {:?}, root {}, list {}{superseded})",
            needs.snapshot, needs.closure, needs.root, needs.list
        ));
    }
    for (process, earlier) in after.processes.iter().zip(&before.processes) {
        if let (Process::Collector(is), Process::Collector(was)) = (process, earlier)
            && is.packs != was.packs
            && was.packs.is_empty()
        {
            text.push_str(&format!("; will delete packs {:?}", is.packs));
        }
    }
    text
}

/// `ListRoots` as `list_roots`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
