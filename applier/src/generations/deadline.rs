//! Until when something may be confirmed: a time of this boot, which no change of the clock moves.
//!
//! Touches `/proc` alone. A host that is set up by its network may get another time of day in the
//! very minute in which somebody should confirm, so the deadline counts from the boot
//! (`/proc/uptime`, which goes on while the machine sleeps) and names it (`boot_id`).
//! What was to be confirmed in another boot is over.

use std::{fs, io, time::Duration};

use serde::{Deserialize, Serialize};

/// A moment of one boot.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    boot: String,
    /// Milliseconds after the boot.
    at: u64,
}

impl Deadline {
    /// The moment `after` from now.
    pub(crate) fn after(after: Duration) -> io::Result<Self> {
        let at = uptime()?.saturating_add(after);
        Ok(Self { boot: boot()?, at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX) })
    }

    /// How long it is until then; none when it is over, or was to be in another boot.
    pub fn left(&self) -> io::Result<Option<Duration>> {
        if boot()? != self.boot {
            return Ok(None);
        }
        let left = Duration::from_millis(self.at).saturating_sub(uptime()?);
        Ok((!left.is_zero()).then_some(left))
    }
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn uptime() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    let uptime = seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    uptime.ok_or_else(|| io::Error::other("`/proc/uptime` has no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_nearer_and_is_over_at_once_in_another_boot() {
        let minute = Deadline::after(Duration::from_mins(1)).unwrap();
        let left = minute.left().unwrap().unwrap();
        assert!(left <= Duration::from_mins(1) && left > Duration::from_secs(50), "{left:?}");
        assert_eq!(Deadline::after(Duration::ZERO).unwrap().left().unwrap(), None);
        let elsewhere = Deadline { boot: "another".to_owned(), ..minute };
        assert_eq!(elsewhere.left().unwrap(), None);
    }
}
