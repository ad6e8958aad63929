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
    definition::DefinitionCommand, deployment::DeploymentCommand, device::DeviceCommand, event::Events,
    http::Api, order::OrderCommand, output::Format, paint::Paint, pool::PoolCommand, service::ServiceCommand,
};
use config::Config;
use failure::Failure;

/// Orders are many small allocations of many threads, on which glibc spends a tenth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns up network services: orders in, device configuration out, everyone told what became of it.
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
        Err(error) => return end(&Failure::Failed(format!("no async runtime: {error}"))),
    };
    match runtime.block_on(Box::pin(run(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(&failure),
    }
}

fn end(failure: &Failure) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "turnup: {failure}");
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
            client::definition::check(&folder, yang.as_deref())
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
            "order submit a.yaml --if-busy maybe",
            "device import a.csv --region eu --region-from site",
            "device import a.csv --region-map ams1=eu",
            "device check pe1 --fetch-yang --last",
            "definition publish",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
