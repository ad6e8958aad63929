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
    definition::DefinitionCommand, device::DeviceCommand, event::Events, http::Api, order::OrderCommand,
    output::Format, service::ServiceCommand,
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
struct Global {
    /// Configuration file; config/turnup.toml documents every key
    #[arg(long, global = true, env = "TURNUP_CONFIG")]
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
    /// The device inventory
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Service definitions
    #[command(subcommand)]
    Definition(DefinitionCommand),
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
    match command {
        Command::Serve(role) => serve::run(config()?, role).await,
        Command::Dev(dev) => dev::run(config()?, dev).await,
        Command::Demo(demo) => demo::run(config()?, demo).await,
        Command::DeviceSim(sim) => dev::run_device_sim(sim).await,
        Command::Migrate => admin::migrate(&config()?).await,
        Command::Reconcile => admin::reconcile(&config()?).await,
        Command::Order(command) => client::order::run(&api()?, format, command).await,
        Command::Service(command) => client::service::run(&api()?, format, command).await,
        Command::Device(command) => client::device::run(&api()?, format, command).await,
        Command::Definition(DefinitionCommand::Check { folder }) => client::definition::check(&folder),
        Command::Definition(DefinitionCommand::List) => client::definition::run(&api()?, format).await,
        Command::Fleet { watch } => client::fleet::run(&api()?, format, watch).await,
        Command::Events(events) => client::event::run(&api()?, format, &events).await,
        Command::Parked(command) => admin::parked(&config()?, format, command).await,
        Command::Token(command) => admin::token(&config()?, format, command).await,
    }
}
