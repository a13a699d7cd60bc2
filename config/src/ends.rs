//! The two ends of a pipeline: exactly one source, exactly one sink.

use crate::definition::Section;
use crate::document::Document;
use crate::kafka::{self, KafkaSink, KafkaSource};
use crate::lake::{self, Lake};
use crate::load::Environment;
use crate::names;
use crate::postgres::{self, Postgres};
use crate::problem::Problem;

/// Where the changes come from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// `[source.postgres]`
    Postgres(Postgres),
    /// `[source.kafka]`
    Kafka(KafkaSource),
}

/// Where the changes go to.
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
#[derive(Clone, Debug)]
pub enum SinkConfig {
    /// `[sink.lake]`
    Lake(Lake),
    /// `[sink.kafka]`
    Kafka(KafkaSink),
}

impl SourceConfig {
    /// The first source of the file; every source in it is read, so that all problems are reported.
    pub(crate) fn read(document: &Document<'_>, pipeline: &str, env: Environment<'_>) -> Option<Self> {
        let mut sources = choose(document, [&postgres::POSTGRES, &kafka::SOURCE]).into_iter().map(|section| {
            if section.path == kafka::SOURCE.path {
                Self::Kafka(KafkaSource::read(document, pipeline, env))
            } else {
                Self::Postgres(Postgres::read(document, pipeline, env))
            }
        });
        let first = sources.next();
        sources.for_each(drop);
        first
    }
}

impl SinkConfig {
    /// The first sink of the file; every sink in it is read, so that all problems are reported.
    pub(crate) fn read(
        document: &Document<'_>,
        pipeline: &str,
        source: Option<&SourceConfig>,
        env: Environment<'_>,
    ) -> Option<Self> {
        let captured = match source {
            Some(SourceConfig::Postgres(postgres)) => Some(&postgres.tables),
            _ => None,
        };
        let mut sinks = choose(document, [&lake::LAKE, &kafka::SINK]).into_iter().map(|section| {
            if section.path == kafka::SINK.path {
                Self::Kafka(KafkaSink::read(document, pipeline, env))
            } else {
                Self::Lake(Lake::read(document, captured))
            }
        });
        let first = sinks.next();
        sinks.for_each(drop);
        if let (Some(SourceConfig::Kafka(_)), Some(Self::Kafka(_))) = (source, &first) {
            let what = "topics are not copied into topics: changes come from [source.kafka] already";
            let problem = Problem::new(what).expected("[sink.lake], or [source.postgres] as the source");
            document.complain_section(&kafka::SINK, problem);
        }
        first
    }
}

/// Those of one side's sections that the file has, in its order. Reports none, and more than one.
fn choose(document: &Document<'_>, sections: [&'static Section; 2]) -> Vec<&'static Section> {
    let mut found: Vec<(usize, &'static Section)> =
        sections.into_iter().filter_map(|section| Some((document.offset(section)?, section))).collect();
    found.sort_by_key(|(offset, _)| *offset);
    let side = sections.first().and_then(|section| section.path.first()).copied().unwrap_or_default();
    if let [_, (_, second), ..] = found.as_slice() {
        let what = format!("a second {side}; a file is one pipeline, from one source into one sink");
        let titles = sections.map(|section| format!("[{}]", section.title()));
        document.complain_section(second, Problem::new(what).expected(format!("one of {}", titles.join(" and "))));
    }
    let elsewhere = sections.iter().any(|section| document.is_broken(section.path));
    if found.is_empty() && !elsewhere && !names::has_later(document, side) {
        let least = sections.map(Section::least);
        document.add_missing(side, Problem::new(format!("no {side}")).expected(least.join(", or ")));
    }
    found.into_iter().map(|(_, section)| section).collect()
}
