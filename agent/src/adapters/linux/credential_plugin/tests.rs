use std::path::PathBuf;

use super::*;

fn call(program: &str, args: &[&str], input: &str) -> PluginCall {
    PluginCall {
        program: PathBuf::from(program),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![("ADDED".to_owned(), "yes".to_owned())],
        input: input.as_bytes().to_vec(),
    }
}

#[tokio::test]
async fn answer_is_what_the_plugin_prints() {
    let plugins = ExecPlugins::default();
    let echoed = plugins.run(call("/bin/cat", &[], "the request")).await.unwrap();
    assert_eq!(echoed, b"the request");
    let environment = plugins.run(call("/usr/bin/env", &[], "")).await.unwrap();
    assert!(String::from_utf8_lossy(&environment).lines().any(|line| line == "ADDED=yes"));
}

#[tokio::test]
async fn failure_tells_status_and_error_output() {
    let plugins = ExecPlugins::default();
    let error = plugins.run(call("/bin/cat", &["/no/such/file"], "")).await.unwrap_err();
    assert!(matches!(error, PluginError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("/no/such/file"), "{error}");
    let error = plugins.run(call("/no/such/plugin", &[], "")).await.unwrap_err();
    assert!(matches!(error, PluginError::Start { .. }), "{error}");
}

#[tokio::test]
async fn late_plugin_is_given_up() {
    let plugins = ExecPlugins { deadline: Duration::from_millis(20) };
    let error = plugins.run(call("/bin/sleep", &["600"], "")).await.unwrap_err();
    assert!(matches!(error, PluginError::Late { .. }), "{error}");
}
