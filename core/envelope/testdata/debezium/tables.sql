CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION isn;
CREATE TYPE mood AS ENUM ('sad','ok','happy');
CREATE DOMAIN amount_d AS numeric(10,3);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE types (
 id bigint PRIMARY KEY,
 c_bool boolean, c_bit1 bit(1), c_bit5 bit(5), c_bit12 bit(12), c_varbit bit varying(20), c_varbitn bit varying,
 c_int2 smallint, c_int4 integer, c_int8 bigint, c_oid oid, c_f4 real, c_f8 double precision,
 c_char char(5), c_varchar varchar(10), c_text text, c_citext citext, c_name name,
 c_num numeric, c_num10_2 numeric(10,2), c_num5 numeric(5), c_num38_10 numeric(38,10), c_num_neg numeric(3,-2), c_num_small numeric(2,5), c_num60 numeric(60,10), c_dom amount_d, c_money money,
 c_date date, c_time time, c_time0 time(0), c_time3 time(3), c_timetz timetz, c_ts timestamp, c_ts0 timestamp(0), c_ts3 timestamp(3), c_ts4 timestamp(4), c_tstz timestamptz, c_tstz3 timestamptz(3), c_interval interval, c_interval_y interval year to month,
 c_bytea bytea, c_json json, c_jsonb jsonb, c_xml xml, c_uuid uuid, c_inet inet, c_cidr cidr, c_macaddr macaddr, c_macaddr8 macaddr8,
 c_int4range int4range, c_int8range int8range, c_numrange numrange, c_tsrange tsrange, c_tstzrange tstzrange, c_daterange daterange, c_int4multirange int4multirange,
 c_enum mood, c_point point, c_box box, c_lseg lseg, c_path path, c_polygon polygon, c_circle circle, c_line line,
 c_ltree ltree, c_hstore hstore, c_isbn isbn, c_tsvector tsvector, c_tsquery tsquery, c_pair pair, c_pglsn pg_lsn, c_jsonpath jsonpath, c_xid xid,
 a_bool boolean[], a_int2 smallint[], a_int4 int[], a_int8 bigint[], a_f4 real[], a_f8 double precision[], a_num numeric[], a_num10_2 numeric(10,2)[], a_char char(3)[], a_varchar varchar(5)[], a_text text[], a_citext citext[], a_date date[], a_time time[], a_time3 time(3)[], a_timetz timetz[], a_ts timestamp[], a_ts3 timestamp(3)[], a_tstz timestamptz[], a_bytea bytea[], a_json json[], a_jsonb jsonb[], a_uuid uuid[], a_inet inet[], a_cidr cidr[], a_macaddr macaddr[], a_mood mood[], a_int4range int4range[], a_ltree ltree[], a_hstore hstore[], a_money money[], a_interval interval[], a_varbit bit varying(3)[], a_xml xml[], a_point point[], a_oid oid[], a_name name[], a_dom amount_d[]
);
ALTER TABLE types REPLICA IDENTITY FULL;
CREATE TABLE defaults (
 id int, k2 text,
 d_bool boolean NOT NULL DEFAULT true, d_bit1 bit(1) NOT NULL DEFAULT B'1', d_bit5 bit(5) NOT NULL DEFAULT B'10101', d_int2 smallint DEFAULT 7, d_int4 int NOT NULL DEFAULT -5, d_int8 bigint NOT NULL DEFAULT 12345678901, d_f4 real DEFAULT 1.5, d_f8 double precision NOT NULL DEFAULT 2.25,
 d_text text NOT NULL DEFAULT 'a "q" b''s', d_textnull text DEFAULT 'x', d_varchar varchar(8) DEFAULT 'v', d_char char(4) DEFAULT 'c', d_num numeric NOT NULL DEFAULT 3.14, d_num10_2 numeric(10,2) NOT NULL DEFAULT 9.99, d_money money DEFAULT 12.5,
 d_date date NOT NULL DEFAULT '2020-02-03', d_time time DEFAULT '01:02:03.456789', d_ts timestamp NOT NULL DEFAULT '2020-02-03 04:05:06.789', d_tstz timestamptz DEFAULT '2020-02-03 04:05:06.789+00', d_now timestamptz NOT NULL DEFAULT now(), d_nowts timestamp DEFAULT now(), d_interval interval DEFAULT '1 day', d_bytea bytea DEFAULT '\x0102', d_json jsonb NOT NULL DEFAULT '{"a":1}', d_uuid uuid DEFAULT '00112233-4455-6677-8899-aabbccddeeff', d_rand uuid NOT NULL DEFAULT gen_random_uuid(), d_expr int DEFAULT 1+1, d_enum mood NOT NULL DEFAULT 'ok', d_arr int[] DEFAULT '{1,2}', d_hstore hstore DEFAULT 'a=>1', d_inet inet DEFAULT '10.0.0.1', d_serial serial, d_numinf numeric DEFAULT 5, d_point point default '(1,2)', d_null text default null, d_nn text[] not null default '{}',
 PRIMARY KEY (k2, id));
CREATE TABLE nokeys (a int, b text); ALTER TABLE nokeys REPLICA IDENTITY FULL;
CREATE TABLE "We ird-Näme" ("id" int primary key, "A b-c.d" text, "1x" int, "näme" text);
CREATE TABLE toast (id int primary key, n int, t text, j jsonb, b bytea, a text[], ai int[], h hstore, c varchar(100000), al bigint[], x xml, ab bytea[], au uuid[], aj jsonb[], ad date[]);
ALTER TABLE toast ALTER t SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER a SET STORAGE EXTERNAL, ALTER ai SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL, ALTER c SET STORAGE EXTERNAL, ALTER al SET STORAGE EXTERNAL, ALTER x SET STORAGE EXTERNAL, ALTER ab SET STORAGE EXTERNAL, ALTER au SET STORAGE EXTERNAL, ALTER aj SET STORAGE EXTERNAL, ALTER ad SET STORAGE EXTERNAL;
CREATE TABLE keys (a int, b text, c timestamptz, d uuid, n numeric(8,2), dt date, v text, PRIMARY KEY (b, a, c, d, n, dt));
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, status varchar(12) NOT NULL, region varchar(8) NOT NULL,
    amount numeric(12, 2) NOT NULL, note text NOT NULL, tags text[] NOT NULL, created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, paid boolean NOT NULL, weight double precision NOT NULL, details jsonb NOT NULL);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE PUBLICATION dbz FOR ALL TABLES;
