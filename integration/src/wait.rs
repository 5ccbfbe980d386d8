//! Waiting until something holds, with an error that says what does not.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is checked.
const INTERVAL: Duration = Duration::from_millis(50);

/// Checks `condition` until it holds.
///
/// # Errors
/// After `timeout`: names `what`, and the last error of `condition`. Earlier errors are ignored.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(what, timeout, || Ok(condition()?.then_some(())))
}

/// Asks `question` until it answers.
///
/// # Errors
/// As [`wait_until`].
pub fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut question: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + timeout;
    loop {
        let outcome = question();
        if let Ok(Some(answer)) = outcome {
            return Ok(answer);
        }
        if Instant::now() >= until {
            let seconds = timeout.as_secs_f32();
            match outcome {
                Err(error) => bail!("waited {seconds:.1} s for {what}; at last: {error:#}"),
                Ok(_) => bail!("waited {seconds:.1} s for {what}"),
            }
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_on_the_way_are_forgiven_and_the_last_one_is_told() {
        let mut tries = 0;
        wait_until("the third try", Duration::from_secs(5), || {
            tries += 1;
            if tries < 3 {
                bail!("not yet")
            }
            Ok(true)
        })
        .unwrap();
        let error = wait_until("godot", Duration::from_millis(60), || {
            bail!("he sent a boy")
        });
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("godot") && text.contains("he sent a boy"),
            "{text}"
        );
    }
}
