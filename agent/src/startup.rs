//! Builds adapters, channels and tasks in order; then only waits.
pub fn run(_: crate::cli::RunArguments) -> anyhow::Result<()> {
    Ok(())
}
