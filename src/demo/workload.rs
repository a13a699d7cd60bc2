//! Orders that come, change, are paid, are merged and go.

use tokio_postgres::Client;
use walbrook_model::{Error, Result};

/// Writes to the shop.
pub(crate) struct Workload {
    client: Client,
    counts: Counts,
    steps: u64,
    has_priority: bool,
}

#[derive(Default)]
struct Counts {
    inserted: u64,
    updated: u64,
    deleted: u64,
    moved: u64,
}

const SCHEMA: &str = "
    CREATE SCHEMA shop;
    CREATE TABLE shop.customers (id bigint PRIMARY KEY, name text NOT NULL, email text, vip boolean NOT NULL DEFAULT false);
    CREATE TABLE shop.orders (
        id bigint PRIMARY KEY, customer bigint NOT NULL, status text NOT NULL, amount numeric(12, 2) NOT NULL,
        tags text[], details jsonb, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
    ALTER TABLE shop.customers REPLICA IDENTITY FULL;
    ALTER TABLE shop.orders REPLICA IDENTITY FULL;
    INSERT INTO shop.customers SELECT i, 'customer ' || i, 'c' || i || '@example.org' FROM generate_series(1, 500) i;
    INSERT INTO shop.orders (id, customer, status, amount, tags, details)
        SELECT i, 1 + i % 500, 'new', (i * 7919 % 100000) / 100.0, ARRAY['web', 'eu'], jsonb_build_object('items', i % 9)
        FROM generate_series(1, 10000) i;
    CREATE SEQUENCE shop.order_ids START 10001;";

impl Workload {
    /// Makes the schema with its first rows.
    ///
    /// # Errors
    /// If the role may not, or the schema exists.
    pub(crate) async fn create(client: Client) -> Result<Self> {
        let workload = Self { client, counts: Counts::default(), steps: 0, has_priority: false };
        workload.run(SCHEMA).await.map_err(|error| error.remedy("use a database without a schema named shop"))?;
        Ok(workload)
    }

    /// One transaction of the shop.
    pub(crate) async fn step(&mut self) -> Result<()> {
        self.steps += 1;
        let priority = if self.has_priority { ", priority = 1 + (random() * 4)::int" } else { "" };
        let some = "SELECT id FROM shop.orders TABLESAMPLE SYSTEM (2) LIMIT";
        let transaction = format!(
            "BEGIN;
             INSERT INTO shop.orders (id, customer, status, amount, tags, details)
                 SELECT nextval('shop.order_ids'), 1 + (random() * 499)::int, 'new', round((random() * 500)::numeric, 2),
                        ARRAY['app'], jsonb_build_object('items', (random() * 9)::int) FROM generate_series(1, 5);
             UPDATE shop.orders SET status = 'paid', amount = amount + 1, updated_at = now(){priority} WHERE id IN ({some} 20);
             DELETE FROM shop.orders WHERE id IN ({some} 2);
             COMMIT;"
        );
        self.run(&transaction).await?;
        self.counts.inserted += 5;
        self.counts.updated += 20;
        self.counts.deleted += 2;
        if self.steps.is_multiple_of(50) {
            self.run(
                "UPDATE shop.orders SET id = id + 1000000000 WHERE id = (SELECT max(id) FROM shop.orders WHERE id < 1000000000)",
            )
            .await?;
            self.counts.moved += 1;
        }
        if self.steps.is_multiple_of(20) {
            self.run("UPDATE shop.customers SET vip = NOT vip WHERE id = 1 + (random() * 499)::int").await?;
        }
        Ok(())
    }

    /// Changes the shape of a table while it is streamed; rows that are there get the default without an event.
    pub(crate) async fn add_column(&mut self) -> Result<()> {
        self.run("ALTER TABLE shop.orders ADD COLUMN priority integer NOT NULL DEFAULT 3").await?;
        self.has_priority = true;
        Ok(())
    }

    /// What was done.
    pub(crate) fn summary(&self) -> String {
        let Counts { inserted, updated, deleted, moved } = self.counts;
        format!(
            "the shop made about {inserted} inserts, {updated} updates, {deleted} deletes, {moved} key changes and one \
             new column in {} transactions",
            self.steps
        )
    }

    async fn run(&self, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| Error::config("a statement of the workload failed").on("demo").because(error))
    }
}
