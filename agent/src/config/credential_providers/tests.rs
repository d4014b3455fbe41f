use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory with a configuration and one plugin called `good`.
fn place(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.yaml"), config).unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    for (name, mode) in [("good", 0o755), ("plain", 0o644)] {
        let program = dir.path().join("bin").join(name);
        fs::write(&program, "").unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(mode)).unwrap();
    }
    dir
}

fn load_text(config: &str) -> Result<Vec<CredentialProvider>, String> {
    let dir = place(config);
    let bin_dir = dir.path().join("bin");
    load(Some(&dir.path().join("config.yaml")), Some(&bin_dir))
        .map_err(|error| crate::telemetry::Causes(&error).to_string())
}

fn config(provider: &str) -> String {
    format!(
        "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders:\n- {}\n",
        provider.trim().replace('\n', "\n  ")
    )
}

const GOOD: &str = "\
name: good
matchImages: ['*.example.test:5000/team', '10.0.0.1']
defaultCacheDuration: 1h30m
apiVersion: credentialprovider.kubelet.k8s.io/v1
args: [get]
env: [{name: A, value: hidden}]
tokenAttributes:
  serviceAccountTokenAudience: registry
  cacheType: ServiceAccount
  requireServiceAccount: true
  requiredServiceAccountAnnotationKeys: [example.test/id]
";

#[test]
fn provider_is_read_in_full() {
    let providers = load_text(&config(GOOD)).unwrap();
    let [provider] = providers.as_slice() else { panic!("{providers:?}") };
    assert!(provider.program.ends_with("bin/good"));
    assert_eq!(provider.default_cache_duration, Duration::from_secs(5400));
    assert_eq!(provider.args, ["get"]);
    let token = provider.token.as_ref().unwrap();
    assert_eq!((token.cache, token.required), (TokenCache::ServiceAccount, true));
    assert_eq!(token.required_annotations, ["example.test/id"]);
    assert!(!format!("{providers:?}").contains("hidden"));
}

#[test]
fn every_problem_names_provider_and_field() {
    let cases = [
        ("matchImages: ['*.example.test:5000/team', '10.0.0.1']", "matchImages: []", "matchImages"),
        ("'10.0.0.1'", "'https://a.test'", "matchImages"),
        ("1h30m", "soon", "defaultCacheDuration"),
        ("defaultCacheDuration: 1h30m\n", "", "defaultCacheDuration"),
        ("io/v1\nargs", "io/v9\nargs", "apiVersion"),
        ("io/v1\nargs", "io/v1beta1\nargs", "tokenAttributes"),
        ("cacheType: ServiceAccount", "cacheType: Other", "tokenAttributes.cacheType"),
        ("  requireServiceAccount: true\n", "", "tokenAttributes.requireServiceAccount"),
        ("requireServiceAccount: true", "requireServiceAccount: false", "requiredServiceAccount"),
        ("Audience: registry", "Audience: ''", "serviceAccountTokenAudience"),
    ];
    for (from, to, field) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = load_text(&config(&GOOD.replace(from, to))).unwrap_err();
        assert!(
            error.contains("providers[0] \"good\": ") && error.contains(field),
            "{to}: {error}"
        );
    }
    for (name, what) in [
        ("plain", "not a program"),
        ("absent", "not a program"),
        ("a b", "spaces"),
        ("../good", "plain name"),
        ("''", "required"),
    ] {
        let error = load_text(&config(&GOOD.replace("name: good", &format!("name: {name}"))));
        assert!(error.unwrap_err().contains(what), "{name}");
    }
    let error = load_text(&config(&GOOD.replace("args:", "arg:"))).unwrap_err();
    assert!(error.contains("arg"), "{error}");
}

#[test]
fn both_paths_are_given_or_none() {
    assert_eq!(load(None, None).unwrap(), []);
    let error = load(Some(Path::new("/x")), None).unwrap_err().to_string();
    assert!(error.contains("--image-credential-provider-bin-dir"), "{error}");
}

#[test]
fn files_of_a_directory_are_read_in_order_and_names_are_unique() {
    let dir = place("");
    let configs = dir.path().join("configs");
    fs::create_dir(&configs).unwrap();
    fs::write(configs.join("b.yaml"), config(GOOD)).unwrap();
    fs::write(configs.join("readme.txt"), "not read").unwrap();
    let bin_dir = dir.path().join("bin");
    assert_eq!(load(Some(&configs), Some(&bin_dir)).unwrap().len(), 1);
    fs::write(configs.join("a.yml"), config(GOOD)).unwrap();
    let error = load(Some(&configs), Some(&bin_dir)).unwrap_err().to_string();
    assert!(error.contains("given twice"), "{error}");
}

#[test]
fn other_kinds_of_objects_are_refused() {
    for text in [
        "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1\n",
        "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v7\n",
        "apiVersion: kubelet.config.k8s.io/v1\n",
    ] {
        assert!(load_text(text).is_err(), "{text}");
    }
    let error = load_text("kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\n");
    assert!(error.unwrap_err().contains("providers"));
}
