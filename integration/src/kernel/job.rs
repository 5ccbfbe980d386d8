//! What a kernel is told to do: the command, and where and how to run it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::request::{Run, Which};

/// The word that makes `lab` act as process 1 of a kernel, and do the job in the folder that follows.
pub const COMMAND: &str = "kernel-inside";
/// The file with the job, in that folder.
pub(super) const FILE: &str = "job.json";

/// A command and its surroundings.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// Whether this is user-mode Linux rather than a virtual machine.
    pub(super) uml: bool,
    pub(super) command: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) directory: PathBuf,
    pub(super) writable: Vec<PathBuf>,
    /// Where this kernel's modules are, if it has any: the path on the machine outside.
    pub(super) modules: Option<PathBuf>,
}

impl Job {
    /// The command of `run` in the current folder, with the current environment, on a kernel with
    /// these `modules`.
    pub(super) fn of_here(run: &Run, modules: Option<PathBuf>) -> Result<Self> {
        if run.command.is_empty() {
            bail!("no command is named: `cargo lab kernel -- COMMAND`");
        }
        let mut writable = Vec::new();
        for folder in &run.writable {
            let found = folder.canonicalize();
            writable.push(found.with_context(|| format!("cannot find {}", folder.display()))?);
        }
        Ok(Self {
            uml: run.which == Which::Uml,
            command: run.command.clone(),
            environment: std::env::vars_os().collect(),
            directory: std::env::current_dir().context("cannot find the current folder")?,
            writable,
            modules,
        })
    }

    /// Reads the job in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let bytes = fs::read(folder.join(FILE)).context("cannot read the job")?;
        serde_json::from_slice(&bytes).context("the job cannot be understood")
    }
}
