//! Pure. What a container mounts, and the files that volumes are to have.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as api;

use super::Check;

#[cfg(test)]
mod tests;

impl Check {
    pub(super) fn mounts(
        &mut self,
        path: &str,
        container: &api::Container,
        volumes: &BTreeSet<&str>,
    ) {
        let security = container.security_context.as_ref();
        let privileged = security.is_some_and(|security| security.privileged == Some(true));
        let mut paths = BTreeSet::new();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let field = format!("{path}.volumeMounts[{index}]");
            if !volumes.contains(mount.name.as_str()) {
                let what = format!("{:?} is none of the pod's volumes", mount.name);
                self.say(format!("{field}.name"), what);
            }
            if mount.mount_path.is_empty() {
                self.required(format!("{field}.mountPath"));
            } else if !paths.insert(mount.mount_path.as_str()) {
                self.say(format!("{field}.mountPath"), "is mounted twice");
            }
            let sub_path = mount.sub_path.as_deref().unwrap_or_default();
            let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
            self.descending(&format!("{field}.subPath"), sub_path);
            self.descending(&format!("{field}.subPathExpr"), expression);
            if !sub_path.is_empty() && !expression.is_empty() {
                let what = "subPathExpr and subPath are mutually exclusive";
                self.say(format!("{field}.subPathExpr"), what);
            }
            self.propagation(&field, mount, privileged);
        }
    }

    fn propagation(&mut self, field: &str, mount: &api::VolumeMount, privileged: bool) {
        let propagation = format!("{field}.mountPropagation");
        let asked = mount.mount_propagation.as_ref();
        self.one_of(&propagation, asked, &["Bidirectional", "HostToContainer", "None"]);
        if asked.is_some_and(|asked| asked == "Bidirectional") && !privileged {
            let what = "Bidirectional mount propagation is available only to privileged containers";
            self.say(propagation, what);
        }
        let recursive = format!("{field}.recursiveReadOnly");
        let wanted = mount.recursive_read_only.as_ref();
        self.one_of(&recursive, wanted, &["Disabled", "Enabled", "IfPossible"]);
        if wanted.is_some_and(|wanted| wanted != "Disabled") {
            if mount.read_only != Some(true) {
                self.say(&recursive, "may only be specified when readOnly is true");
            }
            if asked.is_some_and(|asked| asked != "None") {
                let what = "may only be specified when mountPropagation is None or not specified";
                self.say(&recursive, what);
            }
        }
    }

    /// The files of the pod's own fields, the only ones that a static pod's volumes can have.
    pub(super) fn items(&mut self, path: &str, volume: &api::Volume) {
        let own = volume.downward_api.as_ref().and_then(|downward| downward.items.as_ref());
        for (index, item) in own.into_iter().flatten().enumerate() {
            self.item(&format!("{path}.downwardAPI.items[{index}].path"), &item.path);
        }
        let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
        for (at, source) in sources.into_iter().flatten().enumerate() {
            let items = source.downward_api.as_ref().and_then(|downward| downward.items.as_ref());
            for (index, item) in items.into_iter().flatten().enumerate() {
                let field =
                    format!("{path}.projected.sources[{at}].downwardAPI.items[{index}].path");
                self.item(&field, &item.path);
            }
        }
    }

    fn item(&mut self, field: &str, path: &str) {
        if path.is_empty() {
            return self.required(field);
        }
        self.descending(field, path);
        if path.starts_with("..") && !path.starts_with("../") {
            self.say(field, "must not start with '..'");
        }
    }

    fn descending(&mut self, field: &str, path: &str) {
        if path.starts_with('/') {
            self.say(field, "must be a relative path");
        }
        if path.split('/').any(|part| part == "..") {
            self.say(field, "must not contain '..'");
        }
    }
}
