//! Pure. What the API server would refuse in the security settings of a pod.

use k8s_openapi::api::core::v1 as api;

use super::Check;

impl Check {
    pub(super) fn security(&mut self, spec: &api::PodSpec) {
        let security = spec.security_context.as_ref();
        self.one_of(
            "spec.securityContext.supplementalGroupsPolicy",
            security.and_then(|security| security.supplemental_groups_policy.as_ref()),
            &["Merge", "Strict"],
        );
        if spec.host_users == Some(false) {
            let shared = [
                ("spec.hostNetwork", spec.host_network),
                ("spec.hostPID", spec.host_pid),
                ("spec.hostIPC", spec.host_ipc),
            ];
            for (field, _) in shared.into_iter().filter(|(_, asked)| *asked == Some(true)) {
                self.say(field, "is not allowed when `hostUsers` is false");
            }
        }
    }

    pub(super) fn container_security(
        &mut self,
        path: &str,
        container: &api::Container,
        own_users: bool,
    ) {
        let security = container.security_context.as_ref();
        let proc_mount = security.and_then(|security| security.proc_mount.as_ref());
        let field = format!("{path}.securityContext.procMount");
        self.one_of(field.clone(), proc_mount, &["Default", "Unmasked"]);
        if proc_mount.is_some_and(|kind| kind == "Unmasked") && !own_users {
            self.say(field, "`hostUsers` must be false to use `Unmasked`");
        }
    }
}
