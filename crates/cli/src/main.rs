//! The `turnup` binary: composition root of the roles, and the client commands.
//!
//! Architecture invariant: nothing is decided here. A role's code lives in its crate; this one
//! reads configuration, wires stores and brokers to roles, handles signals, and prints.

mod admin;
mod client;
mod config;
mod demo;
mod dev;
mod failure;
mod ops;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use client::{
    definition::DefinitionCommand,
    deployment::DeploymentCommand,
    device::DeviceCommand,
    event::Events,
    http::Api,
    order::OrderCommand,
    output::{Format, note},
    paint::Paint,
    pool::PoolCommand,
    service::ServiceCommand,
};
use config::Config;
use failure::Failure;

/// Orders are many small allocations of many threads, on which glibc spends a tenth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns up network services: orders in, device configuration out, events of what became of it.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 refused (state, rights), 4 can't reach a server.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Configuration file; config/turnup.toml documents every key
    #[arg(long = "config", id = "config_file", value_name = "FILE", global = true, env = "TURNUP_CONFIG")]
    config: Option<PathBuf>,
    /// Where an intake answers, for client commands
    #[arg(long, global = true, env = "TURNUP_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// API token, for client commands; better in the environment than on the command line
    #[arg(long, global = true, env = "TURNUP_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value = "table")]
    output: Format,
    /// Colours; auto is only on a terminal, and not where NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: clap::ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one role of the system
    #[command(subcommand)]
    Serve(serve::Role),
    /// Run the whole system in one process, with simulated devices
    Dev(dev::Dev),
    /// Run the sample orders of a folder against simulated devices and say how each ended
    Demo(demo::Demo),
    /// Serve simulated NETCONF devices
    DeviceSim(dev::DeviceSim),
    /// Make or update the database schema and the broker's queues
    Migrate,
    /// Put everything that is owed on its way again, as after the loss of the broker
    Reconcile,
    /// Orders
    #[command(subcommand)]
    Order(OrderCommand),
    /// Services
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Deployments: how they went, and what was said to devices
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// The device inventory
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Service definitions
    #[command(subcommand)]
    Definition(DefinitionCommand),
    /// Pools of numbers that services take
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Regions, queues and orders at a glance
    Fleet {
        /// Every two seconds
        #[arg(long)]
        watch: bool,
    },
    /// State events
    Events(Events),
    /// Messages that could not be processed (talks to the broker)
    #[command(subcommand)]
    Parked(admin::ParkedCommand),
    /// API tokens (talks to the database)
    #[command(subcommand)]
    Token(admin::TokenCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The providers of TLS that lapin and reqwest use; already installed is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return end(&Failure::Failed(format!("no async runtime: {error}")), cli.global.output);
        }
    };
    let format = cli.global.output;
    match runtime.block_on(Box::pin(run(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(&failure, format),
    }
}

/// Says why the command failed, on standard error: as JSON where the output is.
fn end(failure: &Failure, format: Format) -> ExitCode {
    match format {
        Format::Table => note(format!("turnup: {failure}")),
        Format::Json => note(failure.json()),
    }
    ExitCode::from(failure.exit_code())
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let config = || Config::load(global.config.as_deref(), std::env::vars());
    let api = || Api::new(&global.url, global.token.as_deref());
    let format = global.output;
    let paint = Paint::detect(global.color);
    match command {
        Command::Serve(role) => serve::run(config()?, role).await,
        Command::Dev(dev) => dev::run(config()?, dev).await,
        Command::Demo(demo) => demo::run(config()?, demo).await,
        Command::DeviceSim(sim) => dev::run_device_sim(sim).await,
        Command::Migrate => admin::migrate(&config()?).await,
        Command::Reconcile => admin::reconcile(&config()?).await,
        Command::Order(command) => client::order::run(&api()?, format, paint, command).await,
        Command::Service(command) => client::service::run(&api()?, format, paint, command).await,
        Command::Deployment(command) => client::deployment::run(&api()?, format, paint, command).await,
        Command::Device(command) => client::device::run(&api()?, format, paint, command).await,
        Command::Definition(DefinitionCommand::Check { folder, yang }) => {
            client::definition::check(format, &folder, yang.as_deref())
        }
        Command::Definition(command) => client::definition::run(&api()?, format, command).await,
        Command::Pool(command) => client::pool::run(&api()?, format, command).await,
        Command::Fleet { watch } => client::fleet::run(&api()?, format, watch).await,
        Command::Events(events) => client::event::run(&api()?, format, &events).await,
        Command::Parked(command) => admin::parked(&config()?, format, command).await,
        Command::Token(command) => admin::token(&config()?, format, command).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("turnup").chain(line.split_whitespace()))
    }

    #[test]
    fn a_flag_may_have_the_name_of_the_configuration_file() {
        for (line, file) in [
            ("service show S --config", None),
            ("--config a.toml service show S --config", Some("a.toml")),
            ("--config a.toml service audit S --config", Some("a.toml")),
            ("service list --config a.toml", Some("a.toml")),
        ] {
            let cli = parsed(line).unwrap();
            // A machine may have the variable set.
            if file.is_some() || std::env::var_os("TURNUP_CONFIG").is_none() {
                assert_eq!(cli.global.config.as_deref(), file.map(std::path::Path::new), "{line}");
            }
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        for good in [
            "order plan a.yaml --on-device --xml --color always",
            "order recreate CRM-1 --changes {} --at now",
            "order show CRM-1 --watch --wait",
            "events --since 1h --type service.audited",
            "device set pe1 --address 192.0.2.1 --port 830 --unset host_key,credential",
            "order submit a.yaml --approved-plan ab --if-busy refuse",
            "order modify S --set vlan=7 --set a:vlan=8 --unset mtu --dry-run --xml --if-busy wait --watch",
            "service show S --config --audit",
            "service list --audit-state down --config-audit drifted",
            "service audit S --config --at 2030-01-31T22:00:00Z --watch",
            "service audits S",
            "service redeploy S --at 2030-01-31T22:00:00Z --watch --approved-plan ab",
            "service decommission S --watch",
            "service config S --device pe1",
            "definition check config/services --yang yang",
            "definition publish a b",
            "definition show eline --version 2",
            "pool list",
            "pool show vlan --scope pe1/ge-0/0/1",
            "device import a.csv b.json --format netbox --region-from site --region-map ams1=eu,par1=eu \
             --platform-map junos=mx,ios-xr=xr --credential lab --dry-run --all --skip-bad --update",
            "device check pe1 --fetch-yang",
        ] {
            assert!(parsed(good).is_ok(), "{good}");
        }
        for bad in [
            "order plan",
            "order show CRM-1 --wait",
            "events --since 1h --after 7",
            "events --since yesterday",
            "device set pe1 --unset region",
            "order submit a.yaml --if-busy maybe",
            "device import a.csv --region eu --region-from site",
            "device import a.csv --region-map ams1=eu",
            "device check pe1 --fetch-yang --last",
            "definition publish",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    /// Files in which people read commands.
    fn texts(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | "tests" | "benches" | ".git" | ".turnup")
            {
                texts(&path, found);
            } else if ["rs", "md", "toml", "yaml"].iter().any(|ending| name.ends_with(&format!(".{ending}")))
            {
                found.push(path);
            }
        }
    }

    /// The commands that a text names: in quotes or backticks, or as a line of code.
    fn commands(text: &str, is_markdown: bool) -> Vec<String> {
        // As the compiler joins the lines of a string.
        let mut joined = String::new();
        let mut rest = text;
        while let Some((head, tail)) = rest.split_once("\\\n") {
            joined.push_str(head);
            rest = tail.trim_start();
        }
        joined.push_str(rest);
        let mut found = Vec::new();
        for quote in ['\'', '`'] {
            let begin = format!("{quote}turnup ");
            for part in joined.split(&begin).skip(1) {
                let end = part.find([quote, '\n']).unwrap_or(part.len());
                found.push(part[..end].to_owned());
            }
        }
        let mut is_code = false;
        for line in joined.lines() {
            is_code ^= line.trim_start().starts_with("```");
            let printed =
                line.trim_start().strip_prefix('"').is_some_and(|text| text.starts_with("  turnup "));
            if (is_markdown && is_code && line.starts_with("turnup ")) || printed {
                let command = line.trim_start_matches([' ', '"']).trim_start_matches("turnup ");
                found.push(command.split('"').next().unwrap_or_default().to_owned());
            }
        }
        found
    }

    /// The words of a command, with something in the place of what is to be filled in.
    fn words(command: &str) -> Vec<String> {
        let command = command.split(['&', '#', ';']).next().unwrap_or_default();
        let mut plain = String::new();
        let mut depth = 0_usize;
        for c in command.chars() {
            match c {
                '{' | '<' => {
                    depth += 1;
                    if depth == 1 {
                        plain.push('x');
                    }
                }
                '}' | '>' => depth = depth.saturating_sub(1),
                '[' | ']' | '…' | '\\' | '\'' => {}
                _ if depth > 0 => {}
                c => plain.push(c),
            }
        }
        let first = |word: &str| match word.split_once('|') {
            Some((first, _)) => first.to_owned(),
            None => word.to_owned(),
        };
        plain.split_whitespace().map(first).collect()
    }

    #[test]
    fn every_command_in_messages_and_documents_exists() {
        use clap::error::ErrorKind;
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
        for folder in ["crates", "docs", "config"] {
            texts(&root.join(folder), &mut files);
        }
        let (mut count, mut wrong) = (0, Vec::new());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            // What this test is about is not about itself.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for command in commands(text, file.extension().is_some_and(|ending| ending == "md")) {
                let words = words(&command);
                if words.is_empty() {
                    continue;
                }
                count += 1;
                let parsed = Cli::try_parse_from(std::iter::once("turnup".to_owned()).chain(words));
                // What is to be filled in may be missing, or no value by itself.
                let is_good = parsed.as_ref().err().is_none_or(|error| {
                    matches!(
                        error.kind(),
                        ErrorKind::MissingRequiredArgument
                            | ErrorKind::MissingSubcommand
                            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                            | ErrorKind::DisplayHelp
                            | ErrorKind::DisplayVersion
                            | ErrorKind::ValueValidation
                            | ErrorKind::InvalidValue
                    )
                });
                if !is_good {
                    let error = parsed.unwrap_err();
                    let said = error.to_string();
                    let why = said.lines().next().unwrap_or_default();
                    wrong.push(format!("{}: turnup {command}: {why}", file.display()));
                }
            }
        }
        assert!(count > 100, "only {count} commands were found");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn command_that_does_not_exist_is_found() {
        let text = "\"see 'turnup fleet status', and \\\n     try 'turnup device set {name} --addres A'\"";
        let found = commands(text, false);
        assert_eq!(found, ["fleet status", "device set {name} --addres A"]);
        for command in found {
            let words = words(&command);
            assert!(Cli::try_parse_from(std::iter::once("turnup".to_owned()).chain(words)).is_err());
        }
        assert_eq!(commands("```\nturnup order list   # all\n```\nturnup is", true), ["order list   # all"]);
        assert_eq!(words("parked list|show --x <a b> {c} # d"), ["parked", "list", "--x", "x", "x"]);
    }
}
