//! One executable under two names: `lab`, and `grid` for the nodes of the lab, so that one build
//! gives both. It is also the first process of the kernels that the lab starts.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use grid_integration::kernel::{inside, job, keeper};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(OsStr::new("grid")) {
        return grid::main();
    }
    let word = arguments.next();
    if word.as_deref() == Some(OsStr::new(job::COMMAND)) {
        inside::first_process(&arguments.next().unwrap_or_default());
    }
    if word.as_deref() == Some(OsStr::new(keeper::COMMAND)) {
        keeper::keep(&arguments.next().unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    if word.as_deref() == Some(OsStr::new("grid")) {
        let error = Command::new("/proc/self/exe")
            .arg0("grid")
            .args(arguments)
            .exec();
        grid_integration::output::say(&format!("lab: cannot run grid: {error}"));
        return ExitCode::FAILURE;
    }
    grid_integration::cli::main()
}
