//! `noded rules`: show, diff, cleanup.

use netproxy::explain::text::diff_text;
use netproxy::explain::{DiffReport, FamilyPlan, RulesReport, planned_rules};
use netproxy::input::ObjectKey;
use netproxy::mode;

use super::facts::Facts;
use super::print;
use crate::cli::{Output, SettingFlags};
use crate::exit::{ExitReason, Fatal};
use crate::telemetry::Causes;

/// Exit code for rules that differ, as diff has it.
const DIFFERENT: u8 = 1;

/// The planned rules, of one service or all.
pub(super) async fn show(
    settings: &SettingFlags,
    service: Option<ObjectKey>,
    output: Output,
    said: &mut String,
) -> Result<u8, Fatal> {
    let facts = Facts::gather(settings).await?;
    if let Some(key) = service.as_ref().filter(|key| facts.map.service(key).is_none()) {
        return Err(facts.missing(key));
    }
    let plans: Vec<FamilyPlan> =
        facts.families().into_iter().map(|family| facts.plan(family)).collect();
    let report = planned_rules(&plans, service.as_ref());
    print(said, output, &report, RulesReport::text)?;
    Ok(0)
}

/// What a sync would change.
pub(super) async fn diff(
    settings: &SettingFlags,
    output: Output,
    said: &mut String,
) -> Result<u8, Fatal> {
    let facts = Facts::gather(settings).await?;
    if let Some(unread) = facts.unread() {
        return Err(unread);
    }
    if let Some(doubt) = facts.doubt() {
        return Err(Fatal::new(ExitReason::NotFound, doubt));
    }
    let compared: Vec<(FamilyPlan, _)> =
        facts.kernel.usable().map(|(family, live)| (facts.plan(family), live)).collect();
    let report = DiffReport::new(compared.iter().map(|(plan, live)| (plan, *live)));
    print(said, output, &report, diff_text)?;
    Ok(if report.equal { 0 } else { DIFFERENT })
}

/// Removes everything of the proxy, in both modes and families, and says where there was something.
pub(super) async fn cleanup(said: &mut String) -> Result<u8, Fatal> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Fatal::new(ExitReason::Machine, "removing rules needs root"));
    }
    let (mut removed, mut failure) = (false, None);
    for leftovers in mode::all_leftovers().await {
        match leftovers.remove().await {
            Ok(true) => {
                removed = true;
                said.push_str(&format!("{leftovers}: removed the rules of Services\n"));
            }
            Ok(false) => {}
            // A family that the kernel does not have holds no rules either.
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    if !removed {
        said.push_str("there was nothing to remove\n");
    }
    match failure {
        Some(error) if !removed => Err(Fatal::new(ExitReason::Machine, Causes(&error).to_string())),
        _ => Ok(0),
    }
}
