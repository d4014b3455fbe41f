//! Writes the manual pages and the completion of noded, made from its flags, into a directory.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap_complete::Shell;

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.context("usage: manual DIRECTORY")?;
    std::fs::create_dir_all(&directory)?;
    let mut command = agent::cli::noded_command();
    clap_complete::generate_to(Shell::Bash, &mut command, "noded", &directory)?;
    clap_mangen::generate_to(agent::cli::noded_command(), &directory)?;
    Ok(())
}
