//! `walbrook replay`: dead letters go back to where they are of, or are given up.
//!
//! Those of a merge are messages that could not be decoded or stored; its own guard judges them when they come again. Those of a
//! capture are messages that were too large; whoever reads its topics sees them late.
//!
//! What a merge misses stands in the checkpoint of its sink, so that it can be given up even where the letters are gone.

use std::collections::BTreeMap;
use std::process::ExitCode;

use tokio::task::spawn_blocking;
use walbrook_config::{Config, KafkaClient, Oversize, SinkConfig, SourceConfig};
use walbrook_letters::{Answers, Folder, Order, Replay, Report};
use walbrook_model::{Error, ErrorKind, Result};

use crate::ends::SinkEnd;
use crate::exit;
use crate::progress::grouped;

/// Letters by the topic that they are of.
type Open = BTreeMap<String, Vec<Answers>>;

/// Where a pipeline puts its dead letters.
struct Place {
    client: KafkaClient,
    group: String,
    at: At,
}

enum At {
    Topic(String),
    Folder(Folder),
}

/// Deals with the letters of the pipeline of `config`, and tells what it did. `again`: with those too that were dealt with.
pub(crate) async fn replay(config: &Config, order: Order, again: bool) -> ExitCode {
    match run(config, order, again).await {
        Ok((report, open)) => {
            tell(&report, &open, order);
            if report.left_out_count == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) }
        }
        Err(error) => exit::report(&error),
    }
}

async fn run(config: &Config, order: Order, again: bool) -> Result<(Report, Open)> {
    let Place { client, group, at } = place(config)?;
    let open = if order == Order::Send { Open::new() } else { open(config).await? };
    let work = spawn_blocking(move || {
        let replay = Replay { client: &client, group, again };
        let found = match at {
            At::Topic(topic) => replay.topic(&topic, order),
            At::Folder(folder) => replay.folder(&folder, order),
        };
        let mut report = match found {
            // The topic is gone, and with it what was in it.
            Err(error) if error.kind() == ErrorKind::Config && order == Order::Discard && !open.is_empty() => {
                let given_up = replay.give_up(&open)?;
                return Ok((Report { given_up, ..Report::default() }, open));
            }
            found => found?,
        };
        if order == Order::Discard && again {
            report.given_up += replay.give_up(&gone(&open, &report))?;
        }
        Ok((report, open))
    });
    work.await.unwrap_or_else(|error| Err(Error::bug("the replay failed").because(error)))
}

/// What is open, and no more among the letters.
fn gone(open: &Open, report: &Report) -> Open {
    let gone = |(topic, letters): (&String, &Vec<Answers>)| {
        let is_there = |letter: &&Answers| report.seen.contains(&(topic.clone(), **letter));
        (topic.clone(), letters.iter().filter(|letter| !is_there(letter)).copied().collect())
    };
    open.iter().map(gone).collect()
}

/// What a merge misses, as of the checkpoint of its sink.
async fn open(config: &Config) -> Result<Open> {
    if !matches!(config.source, SourceConfig::Kafka(_)) {
        return Ok(Open::new());
    }
    let checkpoint = SinkEnd::new(config)?.open().recorded_checkpoint().await?;
    checkpoint.as_ref().map_or_else(|| Ok(Open::new()), walbrook_source_kafka::open_letters)
}

fn place(config: &Config) -> Result<Place> {
    if let SourceConfig::Kafka(source) = &config.source
        && let Some(letters) = &source.dead_letters
    {
        let group = format!("{}.replay", source.group);
        return Ok(Place { client: source.client.clone(), group, at: At::Topic(letters.topic.clone()) });
    }
    if let SinkConfig::Kafka(sink) = &config.sink {
        let at = match &sink.oversize {
            Oversize::DeadLetter { topic } => Some(At::Topic(topic.clone())),
            Oversize::SplitOff { folder } => Some(At::Folder(Folder::new(folder.clone()))),
            Oversize::Stop => None,
        };
        if let Some(at) = at {
            let group = format!("walbrook_{}.replay", config.pipeline.name);
            return Ok(Place { client: sink.client.clone(), group, at });
        }
    }
    Err(Error::config("the pipeline puts no message aside, so that there is nothing to replay")
        .on(format!("pipeline {}", config.pipeline.name))
        .remedy("set dead_letters = \"topic\" in [source.kafka], or oversize in [sink.kafka]"))
}

fn tell(report: &Report, open: &Open, order: Order) {
    for (topic, letters) in open {
        println!("{topic}: {} open, by the last checkpoint", grouped(letters.len() as u64));
    }
    if report.found.is_empty() && report.left_out_count == 0 && report.given_up == 0 {
        println!("no dead letter is left to deal with");
        return;
    }
    for ((topic, reason), count) in &report.found {
        println!("{topic}: {} for {reason}", grouped(*count));
    }
    if report.repeated > 0 {
        println!("the same once more: {}", grouped(report.repeated));
    }
    for line in &report.left_out {
        println!("left out: {line}");
    }
    if report.left_out_count > report.left_out.len() as u64 {
        println!("left out: {} in all", grouped(report.left_out_count));
    }
    let sent = grouped(report.sent);
    match order {
        Order::Look => println!("dry run: nothing was sent"),
        Order::Send => println!("{sent} sent again; one that cannot be read even now becomes a dead letter once more"),
        Order::Discard => {
            println!("{} given up, {sent} that build on others sent again", grouped(report.given_up));
        }
    }
}
