//! Which cipher `ssh` is to take: of those that it may use anyway, one that this processor computes itself.
//!
//! Its own first choice is made for processors that do not. Sending over a fast line is computing, and takes a sixth more time so.

use std::process::{Command, Stdio};

/// The same call of `ssh`, preferring such ciphers; its user's configuration says which may be used at all.
pub(super) fn prefer(mut command: Vec<String>) -> Vec<String> {
    if computes_aes()
        && let Some(ciphers) = allowed(&command).as_deref().and_then(reorder)
    {
        command.splice(1..1, ["-c".to_owned(), ciphers]);
    }
    command
}

/// What the configuration allows, as `ssh` tells without connecting to anything.
fn allowed(command: &[String]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let mut asking = Command::new(program);
    asking.arg("-G").args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let told = String::from_utf8(asking.output().ok()?.stdout).ok()?;
    told.lines().find_map(|line| line.strip_prefix("ciphers ")).map(str::to_owned)
}

/// The same ciphers with AES in the mode that processors are made for before the others; `None` where that changes nothing.
fn reorder(ciphers: &str) -> Option<String> {
    let (mut first, rest): (Vec<_>, Vec<_>) = ciphers.split(',').partition(|name| name.contains("-gcm@"));
    first.extend(rest);
    Some(first.join(",")).filter(|reordered| reordered != ciphers)
}

#[cfg(target_arch = "x86_64")]
fn computes_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn computes_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn computes_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ciphers_that_may_be_used_change_places() {
        let both =
            reorder("chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com");
        let wanted = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr";
        assert_eq!(both.as_deref(), Some(wanted));
        for allowed in ["chacha20-poly1305@openssh.com,aes128-ctr", "aes256-gcm@openssh.com", wanted, ""] {
            assert_eq!(reorder(allowed), None, "{allowed}");
        }
    }

    #[test]
    fn a_program_that_cannot_be_run_or_tells_nothing_is_called_as_it_was() {
        for program in ["/nonexistent/ssh", "true"] {
            let command = vec![program.to_owned(), "nas".to_owned()];
            assert_eq!(prefer(command.clone()), command);
        }
    }
}
