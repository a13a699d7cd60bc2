INSERT INTO types VALUES (1,
 true, B'1', B'10110', B'101100111000', B'1011', B'10110011100011',
 -12, 123456, 1234567890123, 4000000000, 1.1, 2.2,
 'ab', 'vc', 'te"x	t é😀', 'Ci', 'nm',
 123.456789, 12345.67, 99999, 1234567890.0123456789, 12300, 0.00012, 12345678901234567890123456789012345678901234567890.1234567890, 1.125, 1234.56,
 '2024-02-29', '12:34:56.789012', '12:34:56', '12:34:56.789', '12:34:56.789+02', '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.7890', '2024-02-29 12:34:56.789012+02', '2024-02-29 12:34:56.700+02', '1 year 2 mons 3 days 04:05:06.789', '1 year 2 mons',
 '\x00ff10', '{"a" : 1, "b":[1,2]}', '{"a" : 1, "b":[1,2]}', '<a>b</a>', '00112233-4455-6677-8899-aabbccddeeff', '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
 '[1,5)', '[1,5)', '[1.5,2.5]', '[2024-01-01 00:00,2024-01-02 00:00)', '[2024-01-01 00:00+00,2024-01-02 00:00+00)', '[2024-01-01,2024-02-01)', '{[1,3),[5,7)}',
 'ok', '(1.5,-2)', '((0,0),(1,1))', '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))', '((0,0),(1,1),(2,0))', '<(1,2),3>', '{1,2,3}',
 'a.b.c', 'a=>1,b=>NULL,"c d"=>"x\"y"', '978-0-393-04002-9', 'a fat cat', 'fat & rat', '(1,x)', '0/16B3748', '$.a', '7',
 '{t,f,NULL}', '{1,NULL}', '{1,2}', '{1,-2}', '{1.5,NULL}', '{2.5}', '{1.1,2.22}', '{1.10,2.20}', '{ab}', '{ab}', '{a,NULL,"c,d","NULL"}', '{A}', '{2024-02-29}', '{12:34:56.789012}', '{12:34:56.789}', '{12:34:56+02}', '{"2024-02-29 12:34:56.789012"}', '{"2024-02-29 12:34:56.789"}', '{"2024-02-29 12:34:56.789012+02"}', '{"\\x00ff"}', '{"{\"a\": 1}"}', '{"{\"a\": 1}"}', '{00112233-4455-6677-8899-aabbccddeeff}', '{10.0.0.1}', '{10.0.0.0/8}', '{08:00:2b:01:02:03}', '{ok,sad}', '{"[1,5)"}', '{a.b}', '{"a=>1"}', '{1.25}', '{"1 day"}', '{101}', '{<a/>}', '{"(1,2)"}', '{5}', '{nm}', '{1.125}');
INSERT INTO types (id) VALUES (2);
INSERT INTO types (id, c_f4, c_f8, c_date, c_ts, c_tstz, c_time, c_ts3, c_tstz3, c_int2,c_int4,c_int8,c_num10_2,c_money,c_interval,c_bytea,c_text,c_hstore,a_text,a_int4,c_timetz,c_varbit,c_bit12,c_varchar, c_char, c_time0) VALUES
 (3,'-0','-0','infinity','infinity','infinity','24:00','-infinity','-infinity',-32768,-2147483648,-9223372036854775808,-12345678.90,-0.01,'-1 year -2 mons +3 days -04:05:06.789','\x','','','{}','{}','24:00:00-01:30','','000000000001','','', '00:00:00'),
 (4,1e-30,1e300,'0001-01-01 BC','0044-03-15 12:00:00 BC','0044-03-15 12:00:00+00 BC','00:00','1970-01-01 00:00:00','1970-01-01 00:00:00+00',32767,2147483647,9223372036854775807,0,92233720368547758.07,'00:00:00.000001','\xdeadbeef','x','""=>""','{""}','{0}','00:00:00+00','1','111111111111','z','z','23:59:59'),
 (5,123456.789,123456789.123456789,'2100-12-31','2100-12-31 23:59:59.999999','2100-12-31 23:59:59.999999+00','23:59:59.999999','1500-01-01 00:00:00.5','0001-01-01 00:00:00+00',0,0,0,0.01,0,'178000 years','\x41','x','a=>b','{NULL}','{NULL}','12:00:00.5+05:30','10101010101010101010','000000000000','z','z','00:00'),
 (6,1e10,1e-7,'1582-10-10','1582-10-10 00:00','1582-10-10 00:00+00','00:00:00.1','9999-12-31 23:59:59.999','9999-12-31 23:59:59.9+00',1,1,1,-0.01,-92233720368547758.08,'-00:00:00.5','\x41','x',null,null,null,null,null,null,null,null,null),
 (7,'3.4e38','1.7976931348623157e308','5874897-12-31','20000-01-01 00:00','20000-01-01 00:00+00',null,'20000-01-01 00:00','20000-01-01 00:00+00',1,1,1,99999999.99,1,'1 mon 1 day 1 microsecond','\x41','x',null,null,null,null,null,null,null,null,null);
INSERT INTO types (id, c_num) VALUES (8, '-0.00100'), (9, '12300000000000000000000000'), (10,'0'), (11,'0.000'), (12,'-1');
INSERT INTO types (id, c_f4, c_f8) VALUES (13,'NaN','NaN'),(14,'Infinity','-Infinity');
UPDATE types SET c_text = 'upd' WHERE id = 1;
DELETE FROM types WHERE id = 2;
INSERT INTO defaults (id, k2) VALUES (1, 'kk');
UPDATE defaults SET d_int4 = 6 WHERE id = 1;
UPDATE defaults SET id = 2 WHERE id = 1;
DELETE FROM defaults;
INSERT INTO nokeys VALUES (1,'x'); UPDATE nokeys SET b = 'y'; DELETE FROM nokeys;
INSERT INTO "We ird-Näme" VALUES (1, 'x', 2, 'y');
INSERT INTO toast SELECT 1, 1, s, to_jsonb(s), s::bytea, ARRAY[s], (select array_agg(i) from generate_series(1,2000) i), hstore('k', s), s, (select array_agg(i) from generate_series(1,2000) i), ('<a>'||s||'</a>')::xml, ARRAY[s::bytea], (select array_agg('00112233-4455-6677-8899-aabbccddeeff'::uuid) from generate_series(1,500) i), ARRAY[to_jsonb(s)], (select array_agg('2020-01-01'::date) from generate_series(1,1500) i) FROM (SELECT string_agg(md5(i::text),'') s FROM generate_series(1,100) i) x;
UPDATE toast SET n = 2;
INSERT INTO keys VALUES (1,'b"x','2024-02-29 12:34:56.789012+02','00112233-4455-6677-8899-aabbccddeeff',12.5,'2024-02-29','v');
UPDATE keys SET a = 2;
DELETE FROM keys;
BEGIN; INSERT INTO nokeys VALUES (2,'t'); INSERT INTO orders VALUES (1,2,'new','eu-1',12.34,'note',ARRAY['web','tag1'],'2026-01-01','2026-02-01',true,0.5,'{"channel":"app"}'); INSERT INTO nokeys VALUES (3,'t'); COMMIT;
UPDATE orders SET amount = amount + 1;
SELECT pg_logical_emit_message(true, 'outbox', 'hello');
SELECT pg_logical_emit_message(false, 'nontx', '\x00ff01'::bytea);
BEGIN; SELECT pg_logical_emit_message(true, 'p', 'in tx'); INSERT INTO nokeys VALUES (4,'z'); COMMIT;
TRUNCATE orders, nokeys;
ALTER TABLE nokeys ADD COLUMN added int DEFAULT 5;
INSERT INTO nokeys VALUES (9,'after alter',1);
