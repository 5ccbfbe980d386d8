//! Running a program to completion, with input and a deadline.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Starts `command` with `input` on its standard input and collects its output.
///
/// # Errors
/// When the program cannot be started (the cause is then the [`std::io::Error`] itself), when it
/// has not ended by `deadline` (it is then killed), and when it has ended but a process that it left
/// behind still holds its output: a daemon must close the streams that it was started with.
pub fn run_with_deadline(mut command: Command, input: &[u8], deadline: Duration) -> Result<Output> {
    let until = Instant::now() + deadline;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // On a thread: a program that does not read must not hold us. One that closes its input
        // early, as any program may, makes the write fail.
        thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
    }
    let Some(status) = wait_until(&mut child, until)? else {
        child.kill()?;
        child.wait()?;
        let said = stderr
            .recv_timeout(Duration::from_millis(200))
            .unwrap_or_default();
        bail!(
            "did not end within {} s and was killed; it said: {}",
            deadline.as_secs(),
            String::from_utf8_lossy(&said)
        );
    };
    let held = "ended, but a process that it left behind still holds its output";
    let grace = Duration::from_secs(2);
    let stdout = stdout.recv_timeout(grace).context(held)?;
    let stderr = stderr.recv_timeout(grace).context(held)?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

fn wait_until(child: &mut Child, until: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn input_output_and_status_pass_through() {
        let output = run_with_deadline(
            shell("cat; echo no >&2; exit 3"),
            b"yes",
            Duration::from_secs(10),
        )
        .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, b"yes");
        assert_eq!(output.stderr, b"no\n");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let started = Instant::now();
        let error = run_with_deadline(
            shell("echo waiting >&2; exec sleep 30"),
            b"",
            Duration::from_millis(300),
        )
        .unwrap_err();
        assert!(error.to_string().contains("waiting"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_daemon_that_keeps_the_output_is_an_error() {
        let error =
            run_with_deadline(shell("sleep 4 & exit 0"), b"", Duration::from_secs(10)).unwrap_err();
        assert!(error.to_string().contains("left behind"), "{error}");
    }
}
