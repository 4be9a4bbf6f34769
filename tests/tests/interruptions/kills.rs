use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fardel_engine::Error;
use fardel_store::ErrorKind;
use fardel_tests::crash::chance::Chance;
use fardel_tests::crash::machine::Ended;
use fardel_tests::crash::{Result, seed};
use fardel_tests::proxy::{Strike, Way};

use crate::replica::{Carried, PATIENT, Replica};
use crate::server::{Killed, Server, Via, Width};
use crate::site::Site;
use crate::toll::{Effort, Toll, campaign};

/// Kills of the client in CI.
const OF_THE_CLIENT: Effort = Effort { each: 31, longest: Duration::from_secs(15 * 60) };
/// Kills of a server in CI.
const OF_SERVERS: Effort = Effort { each: 6, longest: Duration::from_secs(15 * 60) };
/// In the life of one replica.
const KILLS_IN_A_LIFE: u64 = 3;
/// A sync takes no longer, however busy the machine is.
const LONGEST_SYNC: Duration = Duration::from_secs(120);

#[test]
fn commands_that_are_killed_cost_nothing_that_was_sealed() {
    campaign("kills of the client", OF_THE_CLIENT, Server::start, killed_clients);
}

#[test]
fn servers_that_are_killed_cost_nothing_that_was_sealed() {
    campaign("kills of servers", OF_SERVERS, Server::start_own, killed_servers);
}

#[test]
#[ignore = "soak: ten times as many kills"]
fn soak_commands_that_are_killed() {
    campaign("kills of the client", OF_THE_CLIENT.of_a_soak(), Server::start, killed_clients);
}

#[test]
#[ignore = "soak: ten times as many kills"]
fn soak_servers_that_are_killed() {
    campaign("kills of servers", OF_SERVERS.of_a_soak(), Server::start_own, killed_servers);
}

/// A moment within what is carried; most of it goes to the server, most requests are seen in what comes back.
fn moment(site: &Site, server: &Server, chance: &mut Chance) -> (Way, u64) {
    let gone = server.line.counts();
    if chance.one_in(2) {
        (Way::Up, chance.below(site.bytes().saturating_sub(gone.up).max(4_000)))
    } else {
        // Some hundred requests, of which each brings some hundred bytes back.
        (Way::Down, chance.below(60_000_u64.saturating_sub(gone.down).max(4_000)))
    }
}

fn killed_clients(site: &Site, server: &mut Server, number: u64, toll: &Toll) -> Result {
    let server = &*server;
    let mut chance = Chance::of(seed(), "kills of the client", number);
    let replica = Replica::new(site, format!("killed-client-{number}"), Width::Usual);
    let url = server.url(Via::Line, &replica.name);
    let command = || site.command(server, &["sync", "--to", &url]);
    server.line.mend();
    server.line.forget();
    for _ in 0..1 + chance.below(KILLS_IN_A_LIFE) {
        let (way, bytes) = moment(site, server, &mut chance);
        server.line.arm(way, bytes, Strike::Tell);
        let ended = kill_when_struck(command(), server)?;
        let at = |why: String| format!("killed after {bytes} bytes {way:?}: {why}");
        match ended.code {
            None => toll.count(server, "struck a live process"),
            Some(0) => {}
            code => return Err(at(format!("the command ended with {code:?}: {}", ended.told()))),
        }
        replica.look(server).map_err(at)?;
        if ended.code == Some(0) {
            break;
        }
    }
    let ended = Ended::of(command().output().map_err(|e| e.to_string())?);
    if ended.code != Some(0) {
        return Err(format!("then the command ended with {:?}: {}", ended.code, ended.told()));
    }
    replica.is_whole(server)?;
    if chance.one_in(4) {
        let rank = 1 + chance.below(site.snapshots() as u64) as usize;
        site.restore(server, &replica.name, rank)?;
    }
    replica.remove(server)
}

/// Runs a command, and kills it when the line is struck.
fn kill_when_struck(mut command: Command, server: &Server) -> Result<Ended> {
    let mut child: Child = command.spawn().map_err(|e| e.to_string())?;
    let deadline = Instant::now() + LONGEST_SYNC;
    while child.try_wait().map_err(|e| e.to_string())?.is_none() {
        if server.line.wait_for_strike(Duration::from_millis(5)) || Instant::now() > deadline {
            child.kill().map_err(|e| e.to_string())?;
            break;
        }
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if Instant::now() > deadline { Err("it does not come to its end".into()) } else { Ok(Ended::of(output)) }
}

fn killed_servers(site: &Site, server: &mut Server, number: u64, toll: &Toll) -> Result {
    let mut chance = Chance::of(seed(), "kills of servers", number);
    let width = if chance.one_in(3) { Width::One } else { Width::Usual };
    let replica = Replica::new(site, format!("killed-server-{number}"), width);
    server.line.mend();
    server.line.forget();
    for _ in 0..1 + chance.below(KILLS_IN_A_LIFE) {
        let (way, bytes) = moment(site, server, &mut chance);
        server.line.arm(way, bytes, Strike::Tell);
        let (result, killed) = kill_server_when_struck(&replica, server, &mut chance)?;
        let at = |why: String| format!("{killed:?} killed after {bytes} bytes {way:?}: {why}");
        if let Some(killed) = killed {
            toll.count(server, kind(killed));
        }
        judge(result, killed).map_err(at)?;
        replica.look(server).map_err(at)?;
        if killed.is_none() {
            break;
        }
    }
    judge(replica.sync(replica.over_the_line(server, PATIENT))?, None)
        .map_err(|why| format!("then: {why}"))?;
    replica.is_whole(server)?;
    let rank = 1 + chance.below(site.snapshots() as u64) as usize;
    site.restore(server, &replica.name, rank)?;
    replica.remove(server)
}

/// Carries a replica, and kills the server when the line is struck; it comes back at once, or after the sync has ended.
fn kill_server_when_struck(
    replica: &Replica<'_>,
    server: &mut Server,
    chance: &mut Chance,
) -> Result<(Carried, Option<Killed>)> {
    let store = replica.over_the_line(server, PATIENT);
    let at_once = chance.one_in(2);
    std::thread::scope(|scope| {
        let syncing = scope.spawn(move || replica.sync(store));
        let mut killed = None;
        while !syncing.is_finished() {
            if server.line.wait_for_strike(Duration::from_millis(5)) {
                let what = server.kill(chance);
                killed = Some(what);
                if at_once {
                    server.restart(what);
                }
                break;
            }
        }
        let result = syncing.join().map_err(|_| "the sync panicked".to_owned())?;
        if let (Some(killed), false) = (killed, at_once) {
            server.restart(killed);
        }
        Ok((result?, killed))
    })
}

/// Whether the sync ended as it should: one of three disks may be lost.
fn judge(result: Carried, killed: Option<Killed>) -> Result {
    match (result, killed) {
        (Err(Error::Store(error)), Some(Killed::Server | Killed::Sessions))
            if error.kind == ErrorKind::Transient =>
        {
            Ok(())
        }
        (Ok(report), _) if report.behind == 0 && report.problems.is_empty() => Ok(()),
        (Ok(report), _) => Err(format!("it ended, and is not complete: {report:?}")),
        (Err(error), _) => Err(format!("it did not go on: {error}")),
    }
}

fn kind(killed: Killed) -> &'static str {
    match killed {
        Killed::Server => "whole servers",
        Killed::Sessions => "sessions",
        Killed::Disk(_) => "disks of three",
    }
}
