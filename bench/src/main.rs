//! The whole-system benchmark: the release binary, one process per role, against the Postgres and
//! RabbitMQ at hand with durable settings on. Prints a table with the machine's load. Names of
//! scenarios on the command line choose among them; `TURNUP_BENCH_SCALE=0.1` makes all of them smaller.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on fails where it stands"
)]

mod scenario;

use comfy_table::{Table, presets::ASCII_MARKDOWN};

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark prints its table")]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!("cores {cores}, load {}", load());
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["scenario", "figure", "result", "wanted", "load after"]);
    for (name, run) in scenario::ALL {
        if !chosen.is_empty() && !chosen.iter().any(|chosen| chosen == name) {
            continue;
        }
        eprintln!("running {name} …");
        for figure in run().await {
            let wanted = figure.wanted.unwrap_or_default();
            println!("{name}: {} {} (wanted {wanted})", figure.name, figure.result);
            table.add_row([name.to_owned(), figure.name, figure.result, wanted, load()]);
        }
    }
    println!("\n{table}");
}
