-- The statements that Marconi sends prepared. pg_stat_activity and pg_stat_statements
-- show them as marconi_NAME_HASH; the hash is that of the text, so it changes with a
-- release. Of statements in several forms the first is shown. Parameters are written as
-- %(name)s. Made by `python -m tests.model.test_statements`.


-- marconi_account: The account of a project, for clients of SQS.
SELECT account, receipt_key FROM accounts WHERE project = %(project)s;


-- marconi_attributes: What a process knows of a queue: its metadata, and what it is.
SELECT metadata, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
       AND floor < 9223372036854775807;


-- marconi_claim: Reserves messages: finds, locks and marks them, and stores the claim.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 0),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND true AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           0, 0, (SELECT count(*) FROM found WHERE has_lapsed)] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_claim_fifo: Reserves messages of a FIFO queue: locks groups, and takes from the front of each.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_fifo_in_turn: The same, for who lost all groups to others: first waits for one.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_fifo_once: Reserves messages of a FIFO queue under a key.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_fifo_once_in_turn: The same, for who lost all groups to others.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_fifo_once_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_fifo_once_within_limit_in_turn: The same, for who lost all groups to others.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_fifo_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_fifo_within_limit_in_turn: The same, for who lost all groups to others.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, taken.group_key AS group_key, taken.sequence AS sequence, message.deduplication_id AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_claim_once: Reserves messages under an Idempotency-Key; fails if that has a claim already.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 0
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND true AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           0, 0, (SELECT count(*) FROM found WHERE has_lapsed)] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_claim_once_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 0
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND claim_count < %(max_claim_count)s AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
alive_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AS is_alive, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT claim_count < %(max_claim_count)s AS is_dead, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(alive_mark)s::timestamptz
                ELSE '-infinity' END,
           %(alive_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 1000),
dead AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM alive_ones AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_dead LIMIT CASE WHEN %(is_first_look)s THEN 1000 ELSE 0 END),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping < 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, claim_count, claimed_before,
           first_received_at),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from, group_key,
            first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s, group_key,
           first_received_at, coalesce(claimed_before, 0) + claim_count
      FROM gone, move
 RETURNING id),
moved_body AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent, message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           (SELECT count(*) FROM moved), (SELECT count(*) FROM parked), ((SELECT count(*) FROM found WHERE has_lapsed) + (SELECT count(*) FROM dead WHERE has_lapsed))] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]) || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM alive_ones WHERE is_alive LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM alive_ones OFFSET 999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_claim_within_limit: The same in a queue with _max_claim_count: puts dead letters away, too.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 0),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND claim_count < %(max_claim_count)s AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
alive_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AS is_alive, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT claim_count < %(max_claim_count)s AS is_dead, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(alive_mark)s::timestamptz
                ELSE '-infinity' END,
           %(alive_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 1000),
dead AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM alive_ones AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_dead LIMIT CASE WHEN %(is_first_look)s THEN 1000 ELSE 0 END),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping < 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, claim_count, claimed_before,
           first_received_at),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from, group_key,
            first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s, group_key,
           first_received_at, coalesce(claimed_before, 0) + claim_count
      FROM gone, move
 RETURNING id),
moved_body AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent, message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count AS claim_count, message.traceparent AS traceparent, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           (SELECT count(*) FROM moved), (SELECT count(*) FROM parked), ((SELECT count(*) FROM found WHERE has_lapsed) + (SELECT count(*) FROM dead WHERE has_lapsed))] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]) || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM alive_ones WHERE is_alive LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM alive_ones OFFSET 999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_delete_by_receipts: Deletes the messages of receipts of SQS that are not out of date.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = ANY (%(claim_ids)s::text[]::uuid[]) FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT id, 'delete' AS verdict, seconds, holder, NULL::text AS reason, 0 AS grace, place
      FROM unnest(%(ids)s::bigint[], %(claim_ids)s::text[]::uuid[], %(seconds)s::int[])
           WITH ORDINALITY AS given (id, holder, seconds, place)),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = holder THEN 'done' ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = holder THEN CASE WHEN (SELECT grouping FROM the_queue) = 2 THEN 'expired' ELSE 'done' END
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = until
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM done, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN EXISTS (SELECT FROM done WHERE verdict = 'kick') THEN 0 ELSE known.first_sequence END)
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;


-- marconi_delete_by_receipts_fifo: The same in a FIFO queue.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = ANY (%(claim_ids)s::text[]::uuid[]) FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT id, 'delete' AS verdict, seconds, holder, NULL::text AS reason, 0 AS grace, place
      FROM unnest(%(ids)s::bigint[], %(claim_ids)s::text[]::uuid[], %(seconds)s::int[])
           WITH ORDINALITY AS given (id, holder, seconds, place)),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = holder THEN 'done' ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = holder THEN CASE WHEN (SELECT grouping FROM the_queue) = 2 THEN 'expired' ELSE 'done' END
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = until
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, own.group_key, coalesce(seen.first_sequence, 0),
           CASE WHEN seen.first_sequence IS NOT NULL AND other.is_there IS NULL
                THEN last_sequence ELSE 0 END, (SELECT at FROM clock)
      FROM (SELECT group_key, max(sequence) AS last_sequence
              FROM done, the_queue
             WHERE grouping = 2 AND group_key IS NOT NULL
             GROUP BY group_key) AS own
           LEFT JOIN LATERAL (
               SELECT first_sequence FROM message_groups
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                LIMIT 1) AS seen ON true
           LEFT JOIN LATERAL (
               SELECT true AS is_there FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                  AND sequence >= seen.first_sequence
                  AND id <> ALL (ARRAY(SELECT id FROM deleted))
                ORDER BY sequence LIMIT 1) AS other ON true
     ORDER BY own.group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN known.last_sequence <= excluded.last_sequence
                                AND known.first_sequence >= excluded.first_sequence THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END)
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;


-- marconi_delete_claimed: Deletes a message by the claim that holds it.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND NOT has_subscribers
   AND grouping < 2),
seen AS MATERIALIZED (
    SELECT (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AS was_claimed, claim_id = %(claim_id)s::uuid AS was_held_by_claim
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
gone AS (
    DELETE FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false))
 RETURNING id, group_key, sequence),
body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = (SELECT id FROM gone))
SELECT EXISTS (SELECT FROM gone), was_claimed, was_held_by_claim FROM seen;


-- marconi_delete_claimed_with_subscribers: The same in a queue with subscribers, or a FIFO queue.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
seen AS MATERIALIZED (
    SELECT (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AS was_claimed, claim_id = %(claim_id)s::uuid AS was_held_by_claim
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
gone AS (
    DELETE FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false))
 RETURNING id, group_key, sequence),
body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = (SELECT id FROM gone)
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, own.group_key, coalesce(seen.first_sequence, 0),
           CASE WHEN seen.first_sequence IS NOT NULL AND other.is_there IS NULL
                THEN last_sequence ELSE 0 END, (SELECT at FROM clock)
      FROM (SELECT group_key, max(sequence) AS last_sequence
              FROM gone, the_queue
             WHERE grouping = 2 AND group_key IS NOT NULL
             GROUP BY group_key) AS own
           LEFT JOIN LATERAL (
               SELECT first_sequence FROM message_groups
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                LIMIT 1) AS seen ON true
           LEFT JOIN LATERAL (
               SELECT true AS is_there FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                  AND sequence >= seen.first_sequence
                  AND id <> ALL (ARRAY(SELECT id FROM gone))
                ORDER BY sequence LIMIT 1) AS other ON true
     ORDER BY own.group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN known.last_sequence <= excluded.last_sequence
                                AND known.first_sequence >= excluded.first_sequence THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END)
SELECT EXISTS (SELECT FROM gone), was_claimed, was_held_by_claim FROM seen;


-- marconi_delete_many: Deletes the messages that are named, claimed or not.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND NOT has_subscribers
   AND grouping < 2),
gone AS (
    DELETE FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY(%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
 RETURNING id, group_key, sequence),
body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone)))
SELECT count(*) FROM gone HAVING count(*) > 0;


-- marconi_delete_many_with_subscribers: The same in a queue with subscribers, or a FIFO queue.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
gone AS (
    DELETE FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY(%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
 RETURNING id, group_key, sequence),
body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, own.group_key, coalesce(seen.first_sequence, 0),
           CASE WHEN seen.first_sequence IS NOT NULL AND other.is_there IS NULL
                THEN last_sequence ELSE 0 END, (SELECT at FROM clock)
      FROM (SELECT group_key, max(sequence) AS last_sequence
              FROM gone, the_queue
             WHERE grouping = 2 AND group_key IS NOT NULL
             GROUP BY group_key) AS own
           LEFT JOIN LATERAL (
               SELECT first_sequence FROM message_groups
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                LIMIT 1) AS seen ON true
           LEFT JOIN LATERAL (
               SELECT true AS is_there FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                  AND sequence >= seen.first_sequence
                  AND id <> ALL (ARRAY(SELECT id FROM gone))
                ORDER BY sequence LIMIT 1) AS other ON true
     ORDER BY own.group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN known.last_sequence <= excluded.last_sequence
                                AND known.first_sequence >= excluded.first_sequence THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END)
SELECT count(*) FROM gone HAVING count(*) > 0;


-- marconi_delete_unclaimed: Deletes a message that no claim holds.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND NOT has_subscribers
   AND grouping < 2),
seen AS MATERIALIZED (
    SELECT (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AS was_claimed, claim_id = %(claim_id)s::uuid AS was_held_by_claim
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
gone AS (
    DELETE FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (claim_id IS NOT NULL AND coalesce(held_until > now(), false))
 RETURNING id, group_key, sequence),
body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = (SELECT id FROM gone))
SELECT EXISTS (SELECT FROM gone), was_claimed, was_held_by_claim FROM seen;


-- marconi_delete_unclaimed_with_subscribers: The same in a queue with subscribers, or a FIFO queue.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
seen AS MATERIALIZED (
    SELECT (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AS was_claimed, claim_id = %(claim_id)s::uuid AS was_held_by_claim
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
gone AS (
    DELETE FROM message_states
     WHERE queue_id = %(queue_id)s AND id = %(id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (claim_id IS NOT NULL AND coalesce(held_until > now(), false))
 RETURNING id, group_key, sequence),
body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = (SELECT id FROM gone)
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, own.group_key, coalesce(seen.first_sequence, 0),
           CASE WHEN seen.first_sequence IS NOT NULL AND other.is_there IS NULL
                THEN last_sequence ELSE 0 END, (SELECT at FROM clock)
      FROM (SELECT group_key, max(sequence) AS last_sequence
              FROM gone, the_queue
             WHERE grouping = 2 AND group_key IS NOT NULL
             GROUP BY group_key) AS own
           LEFT JOIN LATERAL (
               SELECT first_sequence FROM message_groups
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                LIMIT 1) AS seen ON true
           LEFT JOIN LATERAL (
               SELECT true AS is_there FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = own.group_key
                  AND sequence >= seen.first_sequence
                  AND id <> ALL (ARRAY(SELECT id FROM gone))
                ORDER BY sequence LIMIT 1) AS other ON true
     ORDER BY own.group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN known.last_sequence <= excluded.last_sequence
                                AND known.first_sequence >= excluded.first_sequence THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END)
SELECT EXISTS (SELECT FROM gone), was_claimed, was_held_by_claim FROM seen;


-- marconi_deliveries_done: Removes deliveries that are over, and counts them.
WITH done AS MATERIALIZED (
    SELECT * FROM unnest(%(queue_ids)s::bigint[], %(ids)s::bigint[],
                         %(message_ids)s::bigint[], %(delivered)s::boolean[])
                  AS done (queue_id, id, message_id, has_delivered)),
gone AS (
    DELETE FROM deliveries AS delivery USING done
     WHERE delivery.queue_id = done.queue_id AND delivery.subscription_id = done.id
       AND delivery.message_id = done.message_id
 RETURNING delivery.*, has_delivered),
remembered AS (
    DELETE FROM delivery_attempts AS attempt USING gone
     WHERE attempt.queue_id = gone.queue_id AND attempt.subscription_id = gone.subscription_id
       AND attempt.message_id = gone.message_id),
counted AS (
    SELECT queue_id, subscription_id AS id, count(*) AS deliveries FROM gone
     WHERE has_delivered GROUP BY queue_id, subscription_id)
UPDATE subscription_owners AS owner
   SET delivered = delivered + deliveries, failing_since = NULL
  FROM counted WHERE owner.queue_id = counted.queue_id AND owner.id = counted.id;


-- marconi_deliveries_failed: Remembers attempts that failed, and when the next are due.
WITH failed AS MATERIALIZED (
       SELECT * FROM json_to_recordset(%(failures)s::json)
                     AS failed (queue_id bigint, id bigint, message_id bigint, attempts integer,
                                delay float, at timestamptz, milliseconds integer,
                                status integer, error text, is_attempt boolean)),
   marked AS (
       UPDATE deliveries AS delivery
          SET attempts = failed.attempts + 1,
              due_at = coalesce(now() + delay * interval '1 second', 'infinity'),
              expires_at = CASE WHEN delay IS NULL THEN now() + %(kept)s * interval '1 second'
                                ELSE delivery.expires_at END
         FROM failed
        WHERE delivery.queue_id = failed.queue_id AND delivery.subscription_id = failed.id
          AND delivery.message_id = failed.message_id AND delivery.attempts = failed.attempts
          AND delivery.due_at IS DISTINCT FROM 'infinity'
    RETURNING failed.*),
   numbered AS MATERIALIZED (
       SELECT marked.*, coalesce(last.attempt, 0) + 1 AS attempt
         FROM marked
              LEFT JOIN LATERAL (
                  SELECT attempt FROM delivery_attempts AS before
                   WHERE before.queue_id = marked.queue_id AND before.subscription_id = marked.id
                     AND before.message_id = marked.message_id
                   ORDER BY attempt DESC LIMIT 1) AS last ON true),
   remembered AS (
       INSERT INTO delivery_attempts (queue_id, subscription_id, message_id, attempt,
                                      attempted_at, status, error, milliseconds)
       SELECT queue_id, id, message_id, attempt, at, status, error, milliseconds FROM numbered),
   forgotten AS (
       DELETE FROM delivery_attempts AS old USING numbered
        WHERE old.queue_id = numbered.queue_id AND old.subscription_id = numbered.id
          AND old.message_id = numbered.message_id
          AND old.attempt <= numbered.attempt - 20),
   failing AS (
       UPDATE subscription_owners AS owner
          SET failing_since = coalesce(failing_since, now())
         FROM (SELECT DISTINCT queue_id, id FROM marked WHERE is_attempt) AS webhook
        WHERE owner.queue_id = webhook.queue_id AND owner.id = webhook.id
    RETURNING owner.queue_id, owner.id, failing_since)
   UPDATE subscriptions AS subscription
      SET paused_at = now(),
          reason = 'Every delivery has failed for 24 hours.'
     FROM failing
    WHERE subscription.queue_id = failing.queue_id AND subscription.id = failing.id
      AND failing_since <= now() - interval '24 hours' AND paused_at IS NULL
RETURNING subscription.queue_id, subscription.id;


-- marconi_find_reply: What became of a message that asks for a reply.
SELECT reply, floor(greatest(0, date_part('epoch', now() - ended_at)))::bigint, CASE WHEN request.reply IS NOT NULL THEN NULL
        WHEN request.reason IS NOT NULL THEN request.reason
        WHEN state.id IS NULL THEN 'deleted'
        WHEN coalesce(coalesce(state.moved_in, state.id) < queue.floor, true) THEN 'purged'
        WHEN state.expires_at <= now() THEN 'expired' END, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END
  FROM requests AS request
   LEFT JOIN LATERAL (
       SELECT floor FROM queues WHERE queue_id = request.lies_in AND floor < 9223372036854775807 LIMIT 1)
       AS queue ON true
   LEFT JOIN LATERAL (
       SELECT id, moved_in, held_until, claim_id, expires_at FROM message_states
        WHERE queue_id = request.lies_in AND id = request.message_id LIMIT 1)
       AS state ON true
 WHERE message_id = %(id)s AND request.queue_id = %(queue_id)s AND project = %(project)s
   AND (ended_at IS NULL OR kept_until > now());


-- marconi_get_claim: A claim, and what it still holds.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
claim AS MATERIALIZED (
    SELECT ttl, started_at, message_ids FROM claims
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()),
held AS MATERIALIZED (SELECT id, ttl, claim_count FROM message_states WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue))
SELECT held.id, held.ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint, message.body, held.claim_count,
       message.traceparent, claim.ttl, floor(greatest(0, date_part('epoch', now() - claim.started_at)))::bigint
  FROM claim, held,
       LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = held.id LIMIT 1) AS message
 ORDER BY held.id;


-- marconi_get_messages: The messages that are named.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
page AS MATERIALIZED (
    SELECT id, ttl, CASE WHEN (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) THEN claim_id::text END AS claim FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY(%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue))
SELECT page.id, page.ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint, message.body, page.claim
  FROM page
       LEFT JOIN LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = page.id LIMIT 1) AS message ON true ORDER BY id;


-- marconi_groups_of: The groups of the messages that are named.
SELECT id, group_key, sequence,
       (SELECT deduplication_id FROM messages
         WHERE queue_id = %(queue_id)s AND messages.id = state.id LIMIT 1)
  FROM message_states AS state
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]);


-- marconi_heartbeat: Renews a claim, and tells of each message whether it still holds that.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY ((
       SELECT message_ids FROM claims
        WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid)::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT taken.id, 'touch' AS verdict, %(ttl)s::int AS seconds, %(grace)s::int AS grace,
           NULL::text AS reason, taken.id AS place
      FROM claims, unnest(message_ids) AS taken (id)
     WHERE queue_id = %(queue_id)s AND claims.id = %(claim_id)s::uuid),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY ((
       SELECT message_ids FROM claims
        WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid)::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = %(claim_id)s::uuid THEN 'done' ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = %(claim_id)s::uuid THEN 'expired'
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = CASE verdict WHEN 'park' THEN 'infinity' ELSE until END,
       claim_id = CASE verdict WHEN 'touch' THEN claim_id END,
       claim_count = CASE verdict WHEN 'kick' THEN 0 ELSE claim_count END,
       park_reason = reason,
       ttl = CASE WHEN seconds > 0 AND expires_at < until THEN seconds + grace ELSE ttl END,
       expires_at = CASE WHEN verdict = 'park' THEN 'infinity'
                         WHEN verdict = 'kick' THEN until + ttl * interval '1 second'
                         WHEN seconds > 0 AND expires_at < until
                         THEN until + grace * interval '1 second'
                         ELSE expires_at END
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM done, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN EXISTS (SELECT FROM done WHERE verdict = 'kick') THEN 0 ELSE known.first_sequence END),
claim_renewed AS (
    UPDATE claims
       SET started_at = (SELECT at FROM clock), ttl = %(ttl)s, expires_at = (SELECT max(until) FROM changes)
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
       AND EXISTS (SELECT FROM changes))
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;


-- marconi_hide_by_receipts: Keeps messages of receipts of SQS from others for longer, or not any more.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = ANY (%(claim_ids)s::text[]::uuid[]) FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT id, 'touch' AS verdict, seconds, holder, NULL::text AS reason, 0 AS grace, place
      FROM unnest(%(ids)s::bigint[], %(claim_ids)s::text[]::uuid[], %(seconds)s::int[])
           WITH ORDINALITY AS given (id, holder, seconds, place)),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = holder THEN CASE WHEN (
                          SELECT started_at FROM claims
                           WHERE queue_id = %(queue_id)s AND claims.id = holder LIMIT 1)
                          + interval '43200 seconds'
                          < now() + seconds * interval '1 second'
                     THEN 'too_long' ELSE 'done' END ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = holder THEN 'expired'
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = until
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM done, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN EXISTS (SELECT FROM done WHERE verdict = 'kick') THEN 0 ELSE known.first_sequence END),
claims_touched AS (
    UPDATE claims SET expires_at = greatest(expires_at, (SELECT at FROM clock) + held.seconds * interval '1 second')
      FROM (SELECT holder, max(seconds) AS seconds FROM judged
             WHERE result = 'done' GROUP BY holder) AS held
     WHERE queue_id = %(queue_id)s AND id = held.holder)
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;


-- marconi_kick: Puts parked messages back into the queue, a batch at a time.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
batch AS MATERIALIZED (
    SELECT ctid FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until = 'infinity' AND id > %(after)s
       AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
     ORDER BY held_until, id LIMIT %(batch_size)s FOR UPDATE SKIP LOCKED),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
places AS MATERIALIZED (
    SELECT ctid AS place,
           (SELECT at FROM clock) + row_number() OVER () * interval '1 microsecond' AS until
      FROM batch),
kicked AS (
    UPDATE message_states AS state
       SET held_until = until, claim_id = NULL, claim_count = 0, park_reason = NULL,
       expires_at = until + ttl * interval '1 second'
      FROM places WHERE state.ctid = places.place
 RETURNING id, group_key),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM kicked, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN true THEN 0 ELSE known.first_sequence END)
SELECT id FROM kicked;


-- marconi_known_claim: The claim that a request with an Idempotency-Key made, if there was one.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807)
SELECT claim_id::text, digest = %(key_digest)s::uuid
  FROM the_queue, idempotency_keys AS known
 WHERE known.queue_id = %(queue_id)s AND operation = %(operation)s AND key = %(key)s::uuid
   AND NOT (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue));


-- marconi_known_claims_across: The same of a claim across several queues.
SELECT known.queue_id, claim_id::text, digest = %(key_digest)s::uuid
  FROM idempotency_keys AS known, queues
 WHERE known.queue_id = ANY(%(ids)s::bigint[]) AND operation IN (2, 3, 4, 5, 6, 7, 8, 9)
   AND key = %(key)s::uuid AND known.expires_at > now()
   AND queues.queue_id = known.queue_id AND floor < 9223372036854775807 AND known.first_id >= floor
 ORDER BY array_position(%(ids)s::bigint[], known.queue_id), operation;


-- marconi_known_post: The same of a post, for one that would be refused by now.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807)
SELECT first_id, digest = %(key_digest)s::uuid FROM the_queue, idempotency_keys AS known
 WHERE known.queue_id = %(queue_id)s AND operation = 0 AND key = %(key)s::uuid
   AND NOT (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue));


-- marconi_list: A page of the messages that can be claimed now.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1),
returned AS MATERIALIZED (
    SELECT id, ttl, NULL::text AS claim, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND id > %(after)s AND id < (SELECT ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s) << 14))  AS is_shown FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 1001),
walked AS MATERIALIZED (
    SELECT id, ttl, NULL::text AS claim, expires_at > now()  AS is_shown FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue) AND (id + 0) > %(after)s AND (id + 0) < ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s) << 14)
     ORDER BY (id + 0) LIMIT 5000)
SELECT page.id, page.ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint, message.body, page.claim
  FROM (
    SELECT * FROM (
    SELECT * FROM (
        SELECT id, ttl, claim FROM walked WHERE is_shown
         UNION ALL
        (SELECT id, NULL, NULL FROM walked OFFSET 4999 LIMIT 1)) AS shown
     LIMIT %(limit)s) AS fresh
     UNION ALL
    SELECT id, ttl, claim FROM returned WHERE is_shown
     UNION ALL
    (SELECT -1, NULL, NULL FROM returned OFFSET 1000 LIMIT 1)
     ORDER BY id LIMIT %(limit)s) AS page
       LEFT JOIN LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = page.id LIMIT 1) AS message ON true;


-- marconi_list_by_state: A page of the messages in the states that are asked for.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1),
walked AS MATERIALIZED (
    SELECT id, ttl, NULL::text AS claim, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND (NOT coalesce(held_until > now(), false))  AS is_shown FROM message_states
     WHERE queue_id = %(queue_id)s AND id > %(after)s AND id < ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s) << 14) AND EXISTS (SELECT FROM the_queue)
     ORDER BY id LIMIT 5000),
page AS MATERIALIZED (
    SELECT * FROM (
        SELECT id, ttl, claim FROM walked WHERE is_shown
         UNION ALL
        (SELECT id, NULL, NULL FROM walked OFFSET 4999 LIMIT 1)) AS shown
     LIMIT %(limit)s)
SELECT page.id, page.ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint, message.body, page.claim
  FROM page
       LEFT JOIN LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = page.id LIMIT 1) AS message ON true;


-- marconi_look_for_replies: Which messages ended, of those to which a reply is awaited.
WITH looked_at AS MATERIALIZED (
    SELECT asked.id AS message_id,
           request.message_id IS NULL OR request.reply IS NOT NULL
               OR CASE WHEN request.reply IS NOT NULL THEN NULL
        WHEN request.reason IS NOT NULL THEN request.reason
        WHEN state.id IS NULL THEN 'deleted'
        WHEN coalesce(coalesce(state.moved_in, state.id) < queue.floor, true) THEN 'purged'
        WHEN state.expires_at <= now() THEN 'expired' END IS NOT NULL AS is_over,
           CASE WHEN state.expires_at < 'infinity'
                THEN date_part('epoch', state.expires_at - now()) END AS due_in
      FROM unnest(%(ids)s::bigint[]) AS asked (id)
           LEFT JOIN LATERAL (
               SELECT message_id, lies_in, reply, reason FROM requests
                WHERE message_id = asked.id LIMIT 1) AS request ON true
   LEFT JOIN LATERAL (
       SELECT floor FROM queues WHERE queue_id = request.lies_in AND floor < 9223372036854775807 LIMIT 1)
       AS queue ON true
   LEFT JOIN LATERAL (
       SELECT id, moved_in, held_until, claim_id, expires_at FROM message_states
        WHERE queue_id = request.lies_in AND id = request.message_id LIMIT 1)
       AS state ON true)
SELECT message_id, is_over, CASE WHEN NOT is_over THEN due_in END FROM looked_at
 WHERE is_over OR due_in <= %(ahead)s;


-- marconi_look_for_waiting: Whether queues that are waited for have something; with each sweep.
WITH transaction AS MATERIALIZED (SELECT pg_current_xact_id()::text::bigint + %(base)s AS id)
SELECT sight.*, now(), (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s), transaction.id
  FROM transaction LEFT JOIN (
SELECT asked.queue_id, the_queue.floor IS NOT NULL, fresh.id, held.held_until, held.id AS held_id,
       date_part('epoch', due.held_until - now()),
       asked.horizon = -1 OR posted.id IS NOT NULL OR returned.id IS NOT NULL
  FROM unnest(%(ids)s::bigint[], %(known)s::int[], %(fresh_marks)s::bigint[],
              string_to_array(%(held_marks)s, ',')::timestamptz[], %(held_mark_ids)s::bigint[],
              %(horizons)s::bigint[], string_to_array(%(times)s, ',')::timestamptz[])
           AS asked (queue_id, is_known, fresh_mark, held_mark, held_mark_id, horizon, time)
       LEFT JOIN LATERAL (
           SELECT floor FROM queues
            WHERE queue_id = asked.queue_id AND floor < 9223372036854775807 LIMIT 1)
           AS the_queue ON true
       LEFT JOIN LATERAL (
           SELECT id FROM message_states
            WHERE queue_id = asked.queue_id AND held_until IS NULL
              AND (id + 0) >= asked.fresh_mark AND (id + 0) >= the_queue.floor
            ORDER BY (id + 0) LIMIT 1)
           AS fresh ON true
       LEFT JOIN LATERAL (
           SELECT held_until, id FROM message_states
            WHERE queue_id = asked.queue_id AND held_until <= now()
              AND (held_until, id) >= (
                  CASE WHEN now() >= %(known_time)s THEN asked.held_mark
                       ELSE '-infinity' END, asked.held_mark_id)
              AND the_queue.floor IS NOT NULL
            ORDER BY held_until, id LIMIT 1)
           AS held ON true
       LEFT JOIN LATERAL (
           SELECT held_until FROM message_states
            WHERE queue_id = asked.queue_id AND held_until > now()
              AND held_until <= now() + %(ahead)s * interval '1 second'
            ORDER BY held_until LIMIT 1)
           AS due ON true
       LEFT JOIN LATERAL (
           SELECT id FROM message_states
            WHERE queue_id = asked.queue_id AND asked.horizon >= 0
              AND id >= asked.horizon AND id < ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s) << 14)
            ORDER BY id LIMIT 1)
           AS posted ON true
       LEFT JOIN LATERAL (
           SELECT id FROM message_states
            WHERE queue_id = asked.queue_id AND held_until <= now()
              AND held_until > asked.time - interval '1 second'
            ORDER BY held_until LIMIT 1)
           AS returned ON true
 WHERE (the_queue.floor IS NOT NULL) <> (asked.is_known = 1)
       OR fresh.id IS NOT NULL OR held.id IS NOT NULL OR due.held_until IS NOT NULL
       OR asked.horizon = -1 OR posted.id IS NOT NULL
       OR returned.id IS NOT NULL) AS sight ON true
 WHERE 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false))::int = 1;


-- marconi_metadata: A queue's metadata.
SELECT metadata FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
       AND floor < 9223372036854775807;


-- marconi_noisy_groups: The groups that hold much of what is claimed in a queue.
WITH held AS MATERIALIZED (
    SELECT group_key FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until > now() AND held_until < 'infinity'
       AND claim_id IS NOT NULL
     ORDER BY held_until, id LIMIT 10000)
SELECT group_key FROM held
 WHERE group_key IS NOT NULL
 GROUP BY group_key
HAVING count(*) >= 30 AND count(*) * 10 > (SELECT count(*) FROM held);


-- marconi_pop: Takes messages for good.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND grouping < 2),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND true AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
gone AS (
    DELETE FROM message_states WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, claim_count, group_key),
body_gone AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s)))
    SELECT gone.id AS id, gone.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, gone.claim_count AS claim_count, message.traceparent AS traceparent, gone.group_key AS group_key, NULL::bigint AS sequence, NULL::bigint[] AS sight FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           0, 0, (SELECT count(*) FROM found WHERE has_lapsed)] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_pop_fifo: Takes messages of a FIFO queue for good, from the front of each group.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
gone AS (
    DELETE FROM message_states WHERE ctid = ANY (ARRAY(SELECT place FROM passed))
 RETURNING id, ttl, claim_count, group_key, sequence, (SELECT at FROM clock) AS ends_at),
body_gone AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE known.available_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM gone GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT gone.id AS id, gone.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, gone.claim_count AS claim_count, message.traceparent AS traceparent, gone.group_key AS group_key, gone.sequence AS sequence, NULL::text AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM gone JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_pop_fifo_in_turn: The same, for who lost all groups to others: first waits for one.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
gone AS (
    DELETE FROM message_states WHERE ctid = ANY (ARRAY(SELECT place FROM passed))
 RETURNING id, ttl, claim_count, group_key, sequence, (SELECT at FROM clock) AS ends_at),
body_gone AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE known.available_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM gone GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT gone.id AS id, gone.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, gone.claim_count AS claim_count, message.traceparent AS traceparent, gone.group_key AS group_key, gone.sequence AS sequence, NULL::text AS deduplication_id, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM gone JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_post: Stores messages, all or none.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text FROM posted)
SELECT first_id FROM transaction;


-- marconi_post_by_attributes: The same, as long as the metadata is what the process knows.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text FROM posted)
SELECT first_id FROM transaction;


-- marconi_post_by_attributes_to_subscribers: The same, as long as the metadata is what is known.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM transaction
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_claimed: Stores a message with the claim of a request that waits for one.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
posted AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS id, grouping FROM the_queue WHERE (pg_current_xact_id()::text::bigint + %(base)s) << 14 >= floor),
returned_ones AS MATERIALIZED (
    SELECT expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 100),
fresh_ones AS MATERIALIZED (
    SELECT expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 100),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
handed_over AS MATERIALIZED (
    SELECT (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second' AS held_until,
       CASE WHEN now() + %(ttl)s::int * interval '1 second' < (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second' THEN %(claim_ttl)s::int + %(grace)s::int
            ELSE %(ttl)s::int END AS ttl,
       CASE WHEN now() + %(ttl)s::int * interval '1 second' < (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second'
            THEN (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second' + %(grace)s::int * interval '1 second'
            ELSE now() + %(ttl)s::int * interval '1 second' END AS expires_at
      FROM posted
     WHERE grouping = 0
       AND NOT EXISTS (SELECT FROM returned_ones WHERE is_ready)
       AND NOT EXISTS (SELECT FROM fresh_ones WHERE is_ready)
       AND NOT EXISTS (SELECT FROM returned_ones OFFSET 99)
       AND NOT EXISTS (SELECT FROM fresh_ones OFFSET 99)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, claim_id, client_id, ttl,
                                claim_count)
    SELECT %(queue_id)s, id, held_until,
           coalesce(expires_at, now() + %(ttl)s::int * interval '1 second'),
           CASE WHEN held_until IS NOT NULL THEN %(claim_id)s::uuid END, %(client_id)s::uuid,
           coalesce(ttl, %(ttl)s::int), (held_until IS NOT NULL)::int
      FROM posted LEFT JOIN handed_over ON true),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), %(body)s, %(traceparent)s::text FROM posted),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid, (SELECT at FROM clock), (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second',
           %(claim_ttl)s::int, ARRAY[id]
      FROM posted, handed_over)
SELECT id, ttl FROM posted LEFT JOIN handed_over ON true;


-- marconi_post_claimed_by_attributes: The same, as long as the metadata is what the process knows.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
posted AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS id, grouping FROM the_queue WHERE (pg_current_xact_id()::text::bigint + %(base)s) << 14 >= floor),
returned_ones AS MATERIALIZED (
    SELECT expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 100),
fresh_ones AS MATERIALIZED (
    SELECT expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 100),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
handed_over AS MATERIALIZED (
    SELECT (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second' AS held_until,
       CASE WHEN now() + %(ttl)s::int * interval '1 second' < (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second' THEN %(claim_ttl)s::int + %(grace)s::int
            ELSE %(ttl)s::int END AS ttl,
       CASE WHEN now() + %(ttl)s::int * interval '1 second' < (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second'
            THEN (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second' + %(grace)s::int * interval '1 second'
            ELSE now() + %(ttl)s::int * interval '1 second' END AS expires_at
      FROM posted
     WHERE grouping = 0
       AND NOT EXISTS (SELECT FROM returned_ones WHERE is_ready)
       AND NOT EXISTS (SELECT FROM fresh_ones WHERE is_ready)
       AND NOT EXISTS (SELECT FROM returned_ones OFFSET 99)
       AND NOT EXISTS (SELECT FROM fresh_ones OFFSET 99)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, claim_id, client_id, ttl,
                                claim_count)
    SELECT %(queue_id)s, id, held_until,
           coalesce(expires_at, now() + %(ttl)s::int * interval '1 second'),
           CASE WHEN held_until IS NOT NULL THEN %(claim_id)s::uuid END, %(client_id)s::uuid,
           coalesce(ttl, %(ttl)s::int), (held_until IS NOT NULL)::int
      FROM posted LEFT JOIN handed_over ON true),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), %(body)s, %(traceparent)s::text FROM posted),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid, (SELECT at FROM clock), (SELECT at FROM clock) + %(claim_ttl)s::int * interval '1 second',
           %(claim_ttl)s::int, ARRAY[id]
      FROM posted, handed_over)
SELECT id, ttl FROM posted LEFT JOIN handed_over ON true;


-- marconi_post_fair: Stores messages that have groups, in a queue that is not FIFO.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1
   AND NOT has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, place)),
posted AS MATERIALIZED (
    SELECT *, id AS sequence, id AS stored_id, NULL::bigint AS stored_sequence FROM given),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           group_key, sequence
      FROM posted),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text, NULL::text,
           message_attributes
      FROM posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id FROM posted ORDER BY place) AS reply;


-- marconi_post_fair_requests: The same for messages of which some ask for a reply.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1
   AND NOT has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes, asks
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[], %(asking)s::int[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, asks, place)),
posted AS MATERIALIZED (
    SELECT *, id AS sequence, id AS stored_id, NULL::bigint AS stored_sequence FROM given),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           group_key, sequence
      FROM posted),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text, NULL::text,
           message_attributes
      FROM posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id FROM posted ORDER BY place) AS reply;


-- marconi_post_fair_requests_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1
   AND has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes, asks
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[], %(asking)s::int[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, asks, place)),
posted AS MATERIALIZED (
    SELECT *, id AS sequence, id AS stored_id, NULL::bigint AS stored_sequence FROM given),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           CASE ids_before WHEN 0 THEN group_key END, CASE ids_before WHEN 0 THEN sequence END
      FROM posted, places),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text, CASE ids_before WHEN 0 THEN NULL::text END,
           message_attributes
      FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM posted ORDER BY place) AS reply
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), NULL, NULL, ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_fair_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1
   AND has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, place)),
posted AS MATERIALIZED (
    SELECT *, id AS sequence, id AS stored_id, NULL::bigint AS stored_sequence FROM given),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           CASE ids_before WHEN 0 THEN group_key END, CASE ids_before WHEN 0 THEN sequence END
      FROM posted, places),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text, CASE ids_before WHEN 0 THEN NULL::text END,
           message_attributes
      FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM posted ORDER BY place) AS reply
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), NULL, NULL, ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_fifo: Stores messages in a FIFO queue: numbers them, and leaves out duplicates.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2
   AND NOT has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes, deduplication_id, key
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[], %(deduplication_ids)s::text[], %(keys)s::text[]::uuid[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, deduplication_id, key, place)),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, group_key, first_id, first_id - 1 + count(*), (SELECT at FROM clock)
      FROM given
     GROUP BY 1, group_key, first_id ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM the_queue)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM given AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(queue_id)s::bigint AND known.group_key = arrivals.group_key),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, sequence, expires_at)
    SELECT DISTINCT ON (key)
           %(queue_id)s::bigint, 20, key, key, id, sequence,
           now() + interval '300 seconds'
      FROM arrived ORDER BY key, place
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           sequence = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.sequence ELSE known.sequence END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING key, first_id, sequence),
judged AS MATERIALIZED (
    SELECT arrived.*, remembered.first_id AS stored_id, remembered.sequence AS stored_sequence
      FROM arrived JOIN remembered USING (key)),
posted AS MATERIALIZED (SELECT * FROM judged WHERE id = stored_id),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           group_key, sequence
      FROM posted),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text, deduplication_id,
           message_attributes
      FROM posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id FROM judged ORDER BY place) AS reply;


-- marconi_post_fifo_requests: The same for messages of which some ask for a reply.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2
   AND NOT has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes, deduplication_id, key, asks
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[], %(deduplication_ids)s::text[], %(keys)s::text[]::uuid[], %(asking)s::int[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, deduplication_id, key, asks, place)),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, group_key, first_id, first_id - 1 + count(*), (SELECT at FROM clock)
      FROM given
     GROUP BY 1, group_key, first_id ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM the_queue)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM given AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(queue_id)s::bigint AND known.group_key = arrivals.group_key),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, sequence, expires_at)
    SELECT DISTINCT ON (key)
           %(queue_id)s::bigint, 20, key, key, id, sequence,
           now() + interval '300 seconds'
      FROM arrived ORDER BY key, place
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           sequence = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.sequence ELSE known.sequence END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING key, first_id, sequence),
judged AS MATERIALIZED (
    SELECT arrived.*, remembered.first_id AS stored_id, remembered.sequence AS stored_sequence
      FROM arrived JOIN remembered USING (key)),
posted AS MATERIALIZED (SELECT * FROM judged WHERE id = stored_id),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           group_key, sequence
      FROM posted),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text, deduplication_id,
           message_attributes
      FROM posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id FROM judged ORDER BY place) AS reply;


-- marconi_post_fifo_requests_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2
   AND has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes, deduplication_id, key, asks
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[], %(deduplication_ids)s::text[], %(keys)s::text[]::uuid[], %(asking)s::int[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, deduplication_id, key, asks, place)),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, group_key, first_id, first_id - 1 + count(*), (SELECT at FROM clock)
      FROM given
     GROUP BY 1, group_key, first_id ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM the_queue)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM given AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(queue_id)s::bigint AND known.group_key = arrivals.group_key),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, sequence, expires_at)
    SELECT DISTINCT ON (key)
           %(queue_id)s::bigint, 20, key, key, id, sequence,
           now() + interval '300 seconds'
      FROM arrived ORDER BY key, place
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           sequence = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.sequence ELSE known.sequence END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING key, first_id, sequence),
judged AS MATERIALIZED (
    SELECT arrived.*, remembered.first_id AS stored_id, remembered.sequence AS stored_sequence
      FROM arrived JOIN remembered USING (key)),
posted AS MATERIALIZED (SELECT * FROM judged WHERE id = stored_id),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           CASE ids_before WHEN 0 THEN group_key END, CASE ids_before WHEN 0 THEN sequence END
      FROM posted, places),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text, CASE ids_before WHEN 0 THEN deduplication_id END,
           message_attributes
      FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM judged ORDER BY place) AS reply
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), NULL, NULL, ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_fifo_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2
   AND has_subscribers FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
given AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, first_id, place, ttl, body,
           CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, group_key, message_attributes, deduplication_id, key
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(groups)s::text[], %(attributes)s::text[], %(deduplication_ids)s::text[], %(keys)s::text[]::uuid[])
               WITH ORDINALITY AS given (ttl, body, delay, group_key, message_attributes, deduplication_id, key, place)),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(queue_id)s::bigint, group_key, first_id, first_id - 1 + count(*), (SELECT at FROM clock)
      FROM given
     GROUP BY 1, group_key, first_id ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM the_queue)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM given AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(queue_id)s::bigint AND known.group_key = arrivals.group_key),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, sequence, expires_at)
    SELECT DISTINCT ON (key)
           %(queue_id)s::bigint, 20, key, key, id, sequence,
           now() + interval '300 seconds'
      FROM arrived ORDER BY key, place
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           sequence = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.sequence ELSE known.sequence END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING key, first_id, sequence),
judged AS MATERIALIZED (
    SELECT arrived.*, remembered.first_id AS stored_id, remembered.sequence AS stored_sequence
      FROM arrived JOIN remembered USING (key)),
posted AS MATERIALIZED (SELECT * FROM judged WHERE id = stored_id),
state AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, group_key, sequence)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl,
           CASE ids_before WHEN 0 THEN group_key END, CASE ids_before WHEN 0 THEN sequence END
      FROM posted, places),
message AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text, CASE ids_before WHEN 0 THEN deduplication_id END,
           message_attributes
      FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT * FROM (SELECT stored_id, stored_sequence, id <> stored_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM judged ORDER BY place) AS reply
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), NULL, NULL, ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_once: Stores messages under an Idempotency-Key, unless they were stored before.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, expires_at)
    SELECT %(queue_id)s, 0, %(key)s::uuid, %(key_digest)s::uuid, first_id,
           now() + %(key_window)s * interval '1 second'
      FROM transaction
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET digest = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.digest ELSE known.digest END,
           first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING first_id, digest),
mine AS MATERIALIZED (SELECT first_id FROM transaction JOIN remembered USING (first_id)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM mine,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text FROM posted)
SELECT first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine) FROM remembered;


-- marconi_post_once_by_attributes: The same, as long as the metadata is what the process knows.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, expires_at)
    SELECT %(queue_id)s, 0, %(key)s::uuid, %(key_digest)s::uuid, first_id,
           now() + %(key_window)s * interval '1 second'
      FROM transaction
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET digest = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.digest ELSE known.digest END,
           first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING first_id, digest),
mine AS MATERIALIZED (SELECT first_id FROM transaction JOIN remembered USING (first_id)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM mine,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text FROM posted)
SELECT first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine) FROM remembered;


-- marconi_post_once_by_attributes_to_subscribers: The same, as long as the metadata is known.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, expires_at)
    SELECT %(queue_id)s, 0, %(key)s::uuid, %(key_digest)s::uuid, first_id,
           now() + %(key_window)s * interval '1 second'
      FROM transaction
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET digest = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.digest ELSE known.digest END,
           first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING first_id, digest),
mine AS MATERIALIZED (SELECT first_id FROM transaction JOIN remembered USING (first_id)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM mine,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine), ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM remembered
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), true, false, ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_once_to_subscribers: The same under an Idempotency-Key.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, expires_at)
    SELECT %(queue_id)s, 0, %(key)s::uuid, %(key_digest)s::uuid, first_id,
           now() + %(key_window)s * interval '1 second'
      FROM transaction
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET digest = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.digest ELSE known.digest END,
           first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING first_id, digest),
mine AS MATERIALIZED (SELECT first_id FROM transaction JOIN remembered USING (first_id)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM mine,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine), ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM remembered
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), true, false, ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_one: Stores a message that is ready at once.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
posted AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS id FROM the_queue WHERE (pg_current_xact_id()::text::bigint + %(base)s) << 14 >= floor),
state AS (
    INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, now() + %(ttl)s * interval '1 second', %(client_id)s::uuid, %(ttl)s
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), %(body)s, %(traceparent)s::text FROM posted)
SELECT id FROM posted;


-- marconi_post_one_by_attributes: The same, as long as the metadata is what the process knows.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
posted AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS id FROM the_queue WHERE (pg_current_xact_id()::text::bigint + %(base)s) << 14 >= floor),
state AS (
    INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, now() + %(ttl)s * interval '1 second', %(client_id)s::uuid, %(ttl)s
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), %(body)s, %(traceparent)s::text FROM posted)
SELECT id FROM posted;


-- marconi_post_one_by_attributes_to_subscribers: The same, as long as the metadata is known.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
begun AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id FROM the_queue WHERE (pg_current_xact_id()::text::bigint + %(base)s) << 14 >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * 1
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
posted AS MATERIALIZED (
    SELECT first_id AS id, %(ttl)s::int AS ttl FROM begun),
state AS (
    INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), %(body)s, %(traceparent)s::text
      FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM posted;


-- marconi_post_one_to_subscribers: The same of one message, ready at once, to a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
begun AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id FROM the_queue WHERE (pg_current_xact_id()::text::bigint + %(base)s) << 14 >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * 1
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
posted AS MATERIALIZED (
    SELECT first_id AS id, %(ttl)s::int AS ttl FROM begun),
state AS (
    INSERT INTO message_states (queue_id, id, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, now() + ttl * interval '1 second', %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), %(body)s, %(traceparent)s::text
      FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM posted;


-- marconi_post_requests: The same for messages of which some ask for a reply.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, asks
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(asking)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, asks, place)),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text FROM posted)
SELECT first_id FROM transaction;


-- marconi_post_requests_once: The same under an Idempotency-Key.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, expires_at)
    SELECT %(queue_id)s, 0, %(key)s::uuid, %(key_digest)s::uuid, first_id,
           now() + %(key_window)s * interval '1 second'
      FROM transaction
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET digest = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.digest ELSE known.digest END,
           first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING first_id, digest),
mine AS MATERIALIZED (SELECT first_id FROM transaction JOIN remembered USING (first_id)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, asks
      FROM mine,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(asking)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, asks, place)),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text FROM posted)
SELECT first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine) FROM remembered;


-- marconi_post_requests_once_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
remembered AS (
    INSERT INTO idempotency_keys AS known
           (queue_id, operation, key, digest, first_id, expires_at)
    SELECT %(queue_id)s, 0, %(key)s::uuid, %(key_digest)s::uuid, first_id,
           now() + %(key_window)s * interval '1 second'
      FROM transaction
        ON CONFLICT (queue_id, operation, key) DO UPDATE
       SET digest = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.digest ELSE known.digest END,
           first_id = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.first_id ELSE known.first_id END,
           expires_at = CASE WHEN (known.expires_at <= now() OR known.first_id < (SELECT floor FROM the_queue)) THEN excluded.expires_at ELSE known.expires_at END
 RETURNING first_id, digest),
mine AS MATERIALIZED (SELECT first_id FROM transaction JOIN remembered USING (first_id)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, asks
      FROM mine,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(asking)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, asks, place)),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, digest = %(key_digest)s::uuid, EXISTS (SELECT FROM mine), ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM remembered
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), true, false, ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_requests_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, asks
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(asking)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, asks, place)),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM transaction
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_requests_with_attributes: Stores messages with attributes of SQS, some of which ask for a reply.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, asks, message_attributes
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(asking)s::int[], %(attributes)s::text[]) WITH ORDINALITY
               AS given (ttl, body, delay, asks, message_attributes, place)),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text, message_attributes FROM posted)
SELECT first_id FROM transaction;


-- marconi_post_requests_with_attributes_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, asks, message_attributes
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(asking)s::int[], %(attributes)s::text[]) WITH ORDINALITY
               AS given (ttl, body, delay, asks, message_attributes, place)),
request AS (
    INSERT INTO requests (message_id, queue_id, lies_in, project, kept_until)
    SELECT id, %(queue_id)s, %(queue_id)s, %(project)s,
           now() + ttl * interval '1 second' + %(reply_ttl)s * interval '1 second'
      FROM posted WHERE asks = 1),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text, message_attributes FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM transaction
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_to_subscribers: Stores messages, copies for queues, and what webhooks are to get.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[]) WITH ORDINALITY
               AS given (ttl, body, delay, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM transaction
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_post_with_attributes: Stores messages of which some have attributes of SQS.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND NOT has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
transaction AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, message_attributes
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(attributes)s::text[]) WITH ORDINALITY
               AS given (ttl, body, delay, message_attributes, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT %(queue_id)s, id, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT %(queue_id)s, id, now(), body, %(traceparent)s::text, message_attributes FROM posted)
SELECT first_id FROM transaction;


-- marconi_post_with_attributes_to_subscribers: The same in a queue with subscribers.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND has_subscribers
   AND grouping < 2 FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS first_id, floor FROM the_queue),
begun AS MATERIALIZED (
    SELECT first_id FROM numbered WHERE first_id >= floor),
reach AS MATERIALIZED (
    WITH RECURSIVE reach (queue_id) AS (
        SELECT %(queue_id)s::bigint FROM begun
         UNION
        SELECT copy.target_id
          FROM reach,
               LATERAL (SELECT target_id FROM subscriptions
                         WHERE queue_id = reach.queue_id AND target_id IS NOT NULL
                           AND confirmed AND expires_at > now()) AS copy)
    SELECT queue_id FROM reach WHERE queue_id <> %(queue_id)s::bigint),
places AS MATERIALIZED (
    SELECT %(queue_id)s::bigint AS queue_id, %(name)s::text AS name, 0 AS ids_before
      FROM begun
     UNION ALL
    SELECT target.queue_id, target.name, row_number() OVER () * cardinality(%(delays)s::int[])
      FROM reach, begun,
           LATERAL (SELECT queue_id, name FROM queues
                     WHERE queue_id = reach.queue_id AND project = %(project)s
                       AND floor <= begun.first_id AND grouping < 2
                     LIMIT 1 FOR KEY SHARE) AS target),
webhooks AS MATERIALIZED (
    SELECT places.queue_id, name, ids_before, webhook.id
      FROM places,
           LATERAL (SELECT id FROM subscriptions
                     WHERE queue_id = places.queue_id AND target_id IS NULL
                       AND confirmed AND expires_at > now()) AS webhook),
transaction AS MATERIALIZED (SELECT first_id FROM begun WHERE cardinality(%(delays)s::int[]) <= (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
posted AS MATERIALIZED (
    SELECT first_id + place - 1 AS id, ttl, body, CASE WHEN delay > 0 THEN (SELECT at FROM clock) + delay * interval '1 second' END AS held_until, message_attributes
      FROM transaction,
           unnest(%(ttls)s::int[], %(bodies)s::text[], %(delays)s::int[], %(attributes)s::text[]) WITH ORDINALITY
               AS given (ttl, body, delay, message_attributes, place)),
state AS (
    INSERT INTO message_states (queue_id, id, held_until, expires_at, client_id, ttl)
    SELECT queue_id, id + ids_before, held_until, now() + ttl * interval '1 second',
           %(client_id)s::uuid, ttl
      FROM posted, places),
message AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT queue_id, id + ids_before, now(), body, %(traceparent)s::text, message_attributes FROM posted, places),
delivery AS (
    INSERT INTO deliveries (queue_id, subscription_id, message_id, expires_at)
    SELECT queue_id, webhooks.id, posted.id + ids_before, now() + ttl * interval '1 second'
      FROM webhooks, posted)
SELECT first_id, ARRAY(SELECT name FROM places), ARRAY(SELECT name FROM webhooks) FROM transaction
 UNION ALL
SELECT -(
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks)))), ARRAY[]::text[], ARRAY[]::text[] FROM begun
 WHERE cardinality(%(delays)s::int[]) > (
    SELECT least(16384 / greatest(1, (SELECT count(*) FROM places)),
                 32768 / greatest(1, (SELECT count(*) FROM webhooks))));


-- marconi_read_deliveries: What a webhook is to get now: what is due again, and what is new.
WITH the_queue AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(queue_id)s AND floor < 9223372036854775807 AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false))::int = 1),
due AS MATERIALIZED (
    SELECT message_id, attempts, expires_at, false AS is_fresh FROM deliveries
     WHERE queue_id = %(queue_id)s AND subscription_id = %(id)s AND due_at <= now()
       AND message_id >= (SELECT floor FROM the_queue)
       AND message_id <> ALL (%(taken)s::bigint[])
     ORDER BY due_at LIMIT %(due)s),
fresh AS MATERIALIZED (
    SELECT message_id, attempts, expires_at, true AS is_fresh FROM deliveries
     WHERE queue_id = %(queue_id)s AND subscription_id = %(id)s AND due_at IS NULL
       AND message_id > greatest(%(after)s, (SELECT floor FROM the_queue) - 1)
       AND message_id <> ALL (%(taken)s::bigint[])
     ORDER BY message_id LIMIT %(fresh)s),
found AS (SELECT * FROM due UNION ALL SELECT * FROM fresh)
SELECT ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s) << 14), found.message_id, attempts, is_fresh, expires_at <= now(),
       round(date_part('epoch', expires_at - message.created_at))::bigint, body, traceparent
  FROM the_queue LEFT JOIN found ON true
       LEFT JOIN LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = found.message_id LIMIT 1) AS message ON true;


-- marconi_receive: Reserves messages for a client of SQS.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 0),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND true AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count, client_id, first_received_at, came_from, claimed_before, group_key),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, NULL::bigint AS sequence, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           0, 0, (SELECT count(*) FROM found WHERE has_lapsed)] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_receive_anew: Holds what a receive took for another while, unless that was changed.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
claim AS MATERIALIZED (
    SELECT message_ids FROM claims
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()
       FOR NO KEY UPDATE),
intact AS MATERIALIZED (
    SELECT FROM message_states WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
    HAVING count(*) = (SELECT cardinality(message_ids) FROM claim)
       AND min(held_until) = max(held_until)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
renewed AS (
    UPDATE message_states SET held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second'
     WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND EXISTS (SELECT FROM intact)
 RETURNING id, group_key),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM renewed, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END),
claim_renewed AS (
    UPDATE claims SET started_at = (SELECT at FROM clock), expires_at = (SELECT at FROM clock) + %(ttl)s * interval '1 second', ttl = %(ttl)s
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
       AND EXISTS (SELECT FROM renewed))
SELECT id FROM renewed;


-- marconi_receive_fair: Reserves messages for an SQS client; those of groups that hold few come first.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1),
looked_at_groups AS MATERIALIZED (
    WITH RECURSIVE step (group_key, start, number) AS (
        SELECT first.group_key, first.group_key, 1
          FROM the_queue, LATERAL (
                   SELECT * FROM (
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > %(after_group)s::text
                         ORDER BY group_key LIMIT 1)
                        UNION ALL
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > ''
                         ORDER BY group_key LIMIT 1)) AS found
                    LIMIT 1) AS first
         UNION ALL
        SELECT next.group_key, start, number + 1
          FROM step, LATERAL (
                   SELECT * FROM (
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > step.group_key
                         ORDER BY group_key LIMIT 1)
                        UNION ALL
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > ''
                         ORDER BY group_key LIMIT 1)) AS found
                    LIMIT 1) AS next
         WHERE number < 200 AND next.group_key <> start)
    SELECT group_key FROM step),
quiet_ones AS MATERIALIZED (
    SELECT message.place, message.is_ready, message.has_lapsed, looked_at_groups.group_key
      FROM looked_at_groups,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT coalesce(held_until > now(), false)
                               AND (held_until IS NULL OR true) AS is_ready,
                               claim_id IS NOT NULL AS has_lapsed
                          FROM message_states
                         WHERE queue_id = %(queue_id)s
                           AND group_key = looked_at_groups.group_key
                         ORDER BY sequence LIMIT 100) AS looked_at
                     WHERE is_ready LIMIT %(limit)s) AS message
     WHERE looked_at_groups.group_key <> ALL (%(noisy)s::text[])),
quiet AS MATERIALIZED (
    SELECT locked.place, has_lapsed, group_key
      FROM quiet_ones AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND true AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
others AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready AND looked.place <> ALL (ARRAY(SELECT place FROM quiet)) LIMIT %(limit)s - (SELECT count(*) FROM quiet)),
found AS MATERIALIZED (
    SELECT place, has_lapsed FROM quiet UNION ALL SELECT place, has_lapsed FROM others),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count, client_id, first_received_at, came_from, claimed_before, group_key),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, NULL::bigint AS sequence, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           0, 0, (SELECT count(*) FROM found WHERE has_lapsed)] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_receive_fair_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1),
looked_at_groups AS MATERIALIZED (
    WITH RECURSIVE step (group_key, start, number) AS (
        SELECT first.group_key, first.group_key, 1
          FROM the_queue, LATERAL (
                   SELECT * FROM (
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > %(after_group)s::text
                         ORDER BY group_key LIMIT 1)
                        UNION ALL
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > ''
                         ORDER BY group_key LIMIT 1)) AS found
                    LIMIT 1) AS first
         UNION ALL
        SELECT next.group_key, start, number + 1
          FROM step, LATERAL (
                   SELECT * FROM (
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > step.group_key
                         ORDER BY group_key LIMIT 1)
                        UNION ALL
                       (SELECT group_key FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key > ''
                         ORDER BY group_key LIMIT 1)) AS found
                    LIMIT 1) AS next
         WHERE number < 200 AND next.group_key <> start)
    SELECT group_key FROM step),
quiet_ones AS MATERIALIZED (
    SELECT message.place, message.is_ready, message.has_lapsed, looked_at_groups.group_key
      FROM looked_at_groups,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT coalesce(held_until > now(), false)
                               AND (held_until IS NULL OR claim_count < %(max_claim_count)s) AS is_ready,
                               claim_id IS NOT NULL AS has_lapsed
                          FROM message_states
                         WHERE queue_id = %(queue_id)s
                           AND group_key = looked_at_groups.group_key
                         ORDER BY sequence LIMIT 100) AS looked_at
                     WHERE is_ready LIMIT %(limit)s) AS message
     WHERE looked_at_groups.group_key <> ALL (%(noisy)s::text[])),
quiet AS MATERIALIZED (
    SELECT locked.place, has_lapsed, group_key
      FROM quiet_ones AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND claim_count < %(max_claim_count)s AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
others AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready AND looked.place <> ALL (ARRAY(SELECT place FROM quiet)) LIMIT %(limit)s - (SELECT count(*) FROM quiet)),
found AS MATERIALIZED (
    SELECT place, has_lapsed FROM quiet UNION ALL SELECT place, has_lapsed FROM others),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
alive_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AS is_alive, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT claim_count < %(max_claim_count)s AS is_dead, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(alive_mark)s::timestamptz
                ELSE '-infinity' END,
           %(alive_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 1000),
dead AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM alive_ones AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_dead LIMIT CASE WHEN %(is_first_look)s THEN 1000 ELSE 0 END),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping < 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, claim_count, claimed_before,
           first_received_at),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from, group_key,
            first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s, group_key,
           first_received_at, coalesce(claimed_before, 0) + claim_count
      FROM gone, move
 RETURNING id),
moved_body AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent, message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count, client_id, first_received_at, came_from, claimed_before, group_key),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, NULL::bigint AS sequence, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           (SELECT count(*) FROM moved), (SELECT count(*) FROM parked), ((SELECT count(*) FROM found WHERE has_lapsed) + (SELECT count(*) FROM dead WHERE has_lapsed))] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]) || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM alive_ones WHERE is_alive LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM alive_ones OFFSET 999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_receive_fifo: Reserves messages of a FIFO queue for a client of SQS.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_fifo_in_turn: The same, for who lost all groups to others.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_fifo_once: Reserves messages of a FIFO queue for a client of SQS, under an attempt.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_fifo_once_in_turn: The same, for who lost all groups to others.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), 0, 0,
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_fifo_once_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_fifo_once_within_limit_in_turn: The same, for who lost all groups to others.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND (SELECT pg_advisory_xact_lock(%(key_lock)s::bigint)) IS NOT NULL
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
remembered AS (
    INSERT INTO idempotency_keys
           (queue_id, operation, key, digest, first_id, claim_id, expires_at)
    SELECT %(queue_id)s, %(operation)s, %(key)s::uuid, %(key_digest)s::uuid,
           (pg_current_xact_id()::text::bigint + %(base)s) << 14,
           %(claim_id)s::uuid, now() + %(key_window)s * interval '1 second'
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_fifo_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_fifo_within_limit_in_turn: The same, for who lost all groups to others.
SELECT FROM message_groups
     WHERE queue_id = %(queue_id)s AND group_key = (
           SELECT group_key FROM message_groups
            WHERE queue_id = %(queue_id)s AND available_at <= now()
            ORDER BY available_at, group_key LIMIT 1) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 2),
available AS MATERIALIZED (
    SELECT ctid AS place, group_key, first_sequence FROM message_groups
     WHERE queue_id = %(queue_id)s AND available_at <= now() AND EXISTS (SELECT FROM the_queue)
     ORDER BY available_at, group_key LIMIT 1000),
heads AS MATERIALIZED (
    SELECT available.place, group_key, first_sequence, row_number() OVER () AS turn
      FROM available,
           LATERAL (SELECT ctid AS place FROM message_groups
                     WHERE ctid = available.place FOR UPDATE SKIP LOCKED) AS locked
     WHERE locked.place = available.place LIMIT %(limit)s),
firsts AS MATERIALIZED (
    SELECT heads.place, group_key, turn, first.*
      FROM heads LEFT JOIN LATERAL (
           WITH looked_at AS MATERIALIZED (
               SELECT sequence, held_until, expires_at, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive,
                      NOT coalesce(held_until > now(), false) AS is_free
                 FROM message_states
                WHERE queue_id = %(queue_id)s AND group_key = heads.group_key
                  AND sequence >= heads.first_sequence
                ORDER BY sequence LIMIT 1000)
           SELECT * FROM (
               SELECT * FROM looked_at WHERE is_alive
                UNION ALL
               (SELECT * FROM looked_at OFFSET 999 LIMIT 1)) AS found
            LIMIT 1) AS first ON true),
behind AS MATERIALIZED (
    SELECT turn, message.*
      FROM firsts,
           LATERAL (SELECT * FROM (
                        SELECT ctid AS place, id, group_key, sequence, claim_count,
                               claim_id IS NOT NULL AS has_lapsed,
                               expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity') AS is_alive, NOT coalesce(held_until > now(), false) AS is_free
                          FROM message_states
                         WHERE queue_id = %(queue_id)s AND group_key = firsts.group_key
                           AND sequence >= firsts.sequence
                         ORDER BY sequence LIMIT 1000) AS looked_at
                     WHERE is_alive LIMIT %(limit)s) AS message
     WHERE firsts.is_alive AND firsts.is_free LIMIT %(limit)s),
tried AS MATERIALIZED (
    SELECT behind.*, is_free AND coalesce(locked.place = behind.place, false) AS is_ours
      FROM behind LEFT JOIN LATERAL (
           SELECT ctid AS place FROM message_states
            WHERE ctid = behind.place AND NOT coalesce(held_until > now(), false) FOR UPDATE SKIP LOCKED) AS locked ON true),
passed AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, bool_and(is_ours) OVER (PARTITION BY turn ORDER BY sequence) AS is_passed
              FROM tried) AS judged
     WHERE is_passed),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
dead AS MATERIALIZED (
    SELECT place, has_lapsed FROM passed WHERE NOT (claim_count < %(max_claim_count)s)),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping = 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, sequence AS place, first_received_at,
           coalesce(claimed_before, 0) + claim_count AS claimed_before),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
leaving AS MATERIALIZED (SELECT gone.*, moved_in FROM gone, move),
numbered_groups AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT %(target_id)s::bigint, group_key, moved_in, moved_in - 1 + count(*), (SELECT at FROM clock)
      FROM leaving
     GROUP BY 1, group_key, moved_in ORDER BY 1, group_key COLLATE "C"
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET last_sequence = greatest(
               known.last_sequence + 1 + excluded.last_sequence - excluded.first_sequence,
               excluded.last_sequence),
           available_at = CASE WHEN known.last_sequence < (SELECT floor FROM target)
                               THEN least(known.available_at, excluded.available_at)
                               ELSE coalesce(known.available_at, excluded.available_at) END
 RETURNING queue_id, group_key, last_sequence),
arrived AS MATERIALIZED (
    SELECT arrivals.*,
           last_sequence + row_number() OVER (PARTITION BY known.queue_id, known.group_key ORDER BY place)
           - count(*) OVER (PARTITION BY known.queue_id, known.group_key) AS sequence
      FROM leaving AS arrivals
           JOIN numbered_groups AS known
             ON known.queue_id = %(target_id)s::bigint AND known.group_key = arrivals.group_key),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from,
            group_key, sequence, first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s,
           group_key, sequence, first_received_at, claimed_before
      FROM arrived
 RETURNING id),
moved_body AS (
    INSERT INTO messages
           (queue_id, id, created_at, body, traceparent, deduplication_id, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent,
           lpad(to_hex(gone.id), 16, '0'), message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(
           SELECT place FROM passed WHERE claim_count < %(max_claim_count)s))
 RETURNING id, ttl, held_until, claim_count, group_key, sequence,
           least(held_until, expires_at) AS ends_at, client_id, first_received_at, came_from, claimed_before),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           min(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id ORDER BY id)
      FROM taken HAVING count(*) > 0),
regrouped AS (
    UPDATE message_groups AS known
       SET available_at = CASE WHEN seen.sequence IS NULL THEN NULL
                               WHEN NOT seen.is_alive THEN known.available_at
                               WHEN NOT seen.is_free
                               THEN greatest((SELECT at FROM clock), least(seen.held_until, seen.expires_at))
                               ELSE seen.ends_at END,
           first_sequence = CASE WHEN seen.sequence IS NULL THEN known.last_sequence + 1
                                 WHEN seen.is_alive THEN seen.sequence
                                 ELSE seen.sequence + 1 END
      FROM (SELECT firsts.*, of_group.ends_at
              FROM firsts LEFT JOIN (
                   SELECT group_key, (array_agg(ends_at ORDER BY sequence))[1] AS ends_at
                     FROM taken GROUP BY group_key) AS of_group USING (group_key)
             WHERE NOT coalesce(is_alive AND is_free AND of_group.ends_at IS NULL, false)) AS seen
     WHERE known.ctid = seen.place)
SELECT * FROM (
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence, passed.turn, passed.sequence AS in_turn, NULL::bigint[] AS sight
      FROM taken JOIN passed USING (id), LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0,
           ARRAY[EXISTS (SELECT FROM the_queue)::int, EXISTS (SELECT FROM available)::int,
                 (SELECT count(*) FROM heads),
                 (SELECT count(*) FROM firsts WHERE is_alive AND is_free), (SELECT count(*) FROM moved), (SELECT count(*) FROM parked),
                 (SELECT count(*) FROM passed WHERE has_lapsed)]) AS reply
 ORDER BY turn, in_turn;


-- marconi_receive_grouped: The same where messages have groups, of which none is noisy.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping
  FROM queues LEFT JOIN id_epoch ON only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
 WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / (only_row IS NOT NULL)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND true AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count, client_id, first_received_at, came_from, claimed_before, group_key),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, NULL::bigint AS sequence, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           0, 0, (SELECT count(*) FROM found WHERE has_lapsed)] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_receive_grouped_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 1),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND claim_count < %(max_claim_count)s AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
alive_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AS is_alive, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT claim_count < %(max_claim_count)s AS is_dead, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(alive_mark)s::timestamptz
                ELSE '-infinity' END,
           %(alive_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 1000),
dead AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM alive_ones AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_dead LIMIT CASE WHEN %(is_first_look)s THEN 1000 ELSE 0 END),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping < 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, claim_count, claimed_before,
           first_received_at),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from, group_key,
            first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s, group_key,
           first_received_at, coalesce(claimed_before, 0) + claim_count
      FROM gone, move
 RETURNING id),
moved_body AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent, message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count, client_id, first_received_at, came_from, claimed_before, group_key),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, NULL::bigint AS sequence, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           (SELECT count(*) FROM moved), (SELECT count(*) FROM parked), ((SELECT count(*) FROM found WHERE has_lapsed) + (SELECT count(*) FROM dead WHERE has_lapsed))] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]) || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM alive_ones WHERE is_alive LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM alive_ones OFFSET 999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_receive_within_limit: The same in a queue with _max_claim_count.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807
   AND 1 / EXISTS (
       SELECT FROM id_epoch WHERE only_row AND base = %(base)s AND coalesce(
       server_started_at = pg_postmaster_start_time()
       AND written_by = id_epoch.xmin::text::bigint,
       false)
          AND (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base) + 32768 < reserved)::int = 1
   AND (metadata = %(digest)s
        OR encode(sha256(convert_to(metadata, 'UTF8')), 'hex') = %(digest)s)
   AND grouping = 0),
returned_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND claim_count < %(max_claim_count)s AS is_ready, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(held_mark)s::timestamptz
                ELSE '-infinity' END,
           %(held_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 5000),
fresh_ones AS MATERIALIZED (
    SELECT ctid AS place, id, expires_at > now() AS is_ready FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until IS NULL
       AND (id + 0) >= %(fresh_mark)s AND (id + 0) >= (SELECT floor FROM the_queue)
     ORDER BY (id + 0) LIMIT 5000),
found AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM (
               SELECT place, is_ready, has_lapsed FROM returned_ones
                UNION ALL
               SELECT place, is_ready, false FROM fresh_ones) AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_ready LIMIT %(limit)s),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
alive_ones AS MATERIALIZED (
    SELECT ctid AS place, held_until, id, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AS is_alive, expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT claim_count < %(max_claim_count)s AS is_dead, claim_id IS NOT NULL AS has_lapsed FROM message_states
     WHERE queue_id = %(queue_id)s AND held_until <= now()
       AND (held_until, id) >= (
           CASE WHEN now() >= %(known_time)s THEN %(alive_mark)s::timestamptz
                ELSE '-infinity' END,
           %(alive_mark_id)s::bigint)
     ORDER BY held_until, id LIMIT 1000),
dead AS MATERIALIZED (
    SELECT locked.place, has_lapsed
      FROM alive_ones AS looked,
           LATERAL (SELECT ctid AS place FROM message_states
                     WHERE ctid = looked.place AND NOT coalesce(held_until > now(), false)
                       FOR UPDATE SKIP LOCKED) AS locked
     WHERE is_dead LIMIT CASE WHEN %(is_first_look)s THEN 1000 ELSE 0 END),
target AS MATERIALIZED (
    SELECT floor FROM queues
     WHERE queue_id = %(target_id)s AND project = %(project)s AND name = %(target_name)s
       AND floor < 9223372036854775807
   AND grouping < 2 AND EXISTS (SELECT FROM dead)
       FOR KEY SHARE),
numbered AS MATERIALIZED (
    SELECT (pg_current_xact_id()::text::bigint + %(base)s) << 14 AS moved_in,
           floor
      FROM target),
move AS MATERIALIZED (
    SELECT moved_in FROM numbered WHERE moved_in >= floor),
gone AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE EXISTS (SELECT FROM move)))
 RETURNING id, expires_at, client_id, ttl, group_key, claim_count, claimed_before,
           first_received_at),
followed AS (
    UPDATE requests SET lies_in = %(target_id)s
     WHERE message_id = ANY (ARRAY(SELECT id FROM gone)) AND lies_in = %(queue_id)s),
gone_body AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM gone))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
moved AS (
    INSERT INTO message_states
           (queue_id, id, held_until, expires_at, client_id, ttl, moved_in, came_from, group_key,
            first_received_at, claimed_before)
    SELECT %(target_id)s, id, (SELECT at FROM clock),
           coalesce(now() + %(target_ttl)s * interval '1 second', expires_at),
           client_id, coalesce(%(target_ttl)s, ttl), moved_in, %(queue_id)s, group_key,
           first_received_at, coalesce(claimed_before, 0) + claim_count
      FROM gone, move
 RETURNING id),
moved_body AS (
    INSERT INTO messages (queue_id, id, created_at, body, traceparent, message_attributes)
    SELECT %(target_id)s, gone.id, created_at, body, traceparent, message_attributes
      FROM gone, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = gone.id LIMIT 1) AS message
        ON CONFLICT (queue_id, id) DO UPDATE SET created_at = excluded.created_at),
parked AS (
    UPDATE message_states
       SET held_until = 'infinity', expires_at = 'infinity', claim_id = NULL, park_reason = %(park_reason)s
     WHERE ctid = ANY (ARRAY(SELECT place FROM dead WHERE NOT EXISTS (SELECT FROM target)))
 RETURNING id),
taken AS (
    UPDATE message_states
       SET claim_id = %(claim_id)s::uuid, claim_count = claim_count + 1, held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       first_received_at = coalesce(first_received_at, (SELECT at FROM clock))
     WHERE ctid = ANY (ARRAY(SELECT place FROM found))
 RETURNING id, ttl, held_until, claim_count, client_id, first_received_at, came_from, claimed_before, group_key),
claim AS (
    INSERT INTO claims (queue_id, id, started_at, expires_at, ttl, message_ids)
    SELECT %(queue_id)s, %(claim_id)s::uuid,
           max(held_until) - %(ttl)s * interval '1 second', max(held_until), %(ttl)s,
           array_agg(id)
      FROM taken HAVING max(held_until) IS NOT NULL)
    SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, NULL::bigint AS sequence, NULL::bigint[] AS sight FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           ARRAY[coalesce(
           (SELECT id FROM fresh_ones WHERE is_ready LIMIT 1),
           (SELECT -id FROM fresh_ones OFFSET 4999 LIMIT 1)),
           (date_part('epoch', now()) * 1000000)::bigint, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %(base)s),
           (SELECT coalesce(
                   CASE WHEN %(asks)s THEN pg_current_xact_id()
                        ELSE pg_current_xact_id_if_assigned() END::text::bigint + %(base)s, 0)
              FROM the_queue),
           (SELECT count(*) FROM moved), (SELECT count(*) FROM parked), ((SELECT count(*) FROM found WHERE has_lapsed) + (SELECT count(*) FROM dead WHERE has_lapsed))] || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM returned_ones WHERE is_ready LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM returned_ones OFFSET 4999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]) || coalesce(
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, id] FROM alive_ones WHERE is_alive LIMIT 1),
           (SELECT ARRAY[(date_part('epoch', held_until) * 1000000)::bigint, -id] FROM alive_ones OFFSET 999 LIMIT 1),
           ARRAY[NULL, NULL]::bigint[]);


-- marconi_received_before: What a receive took, for one that is made again under its attempt.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
claim AS MATERIALIZED (
    SELECT message_ids FROM claims
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()),
taken AS MATERIALIZED (
    SELECT id, ttl, claim_count, claimed_before, client_id, first_received_at, came_from,
           group_key, sequence
      FROM message_states WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue))
SELECT taken.id AS id, taken.ttl AS ttl, floor(greatest(0, date_part('epoch', now() - message.created_at)))::bigint AS age, message.body AS body, taken.claim_count + coalesce(taken.claimed_before, 0) AS claim_count, message.traceparent AS traceparent, message.message_attributes AS message_attributes, taken.client_id::text AS sender, (date_part('epoch', message.created_at) * 1000)::bigint AS sent_at, (date_part('epoch', taken.first_received_at) * 1000)::bigint AS first_received_at, (
           SELECT name FROM queues
            WHERE queue_id = taken.came_from AND project = %(project)s LIMIT 1) AS source, taken.group_key AS group_key, message.deduplication_id AS deduplication_id, taken.sequence AS sequence FROM taken, LATERAL (SELECT created_at, body, traceparent, deduplication_id, message_attributes
                       FROM messages
                      WHERE queue_id = %(queue_id)s AND id = taken.id LIMIT 1) AS message
 ORDER BY taken.group_key, taken.sequence;


-- marconi_release: Gives back what a claim still holds.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
claim AS (
    DELETE FROM claims
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
 RETURNING message_ids),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
released AS (
    UPDATE message_states SET held_until = (SELECT at FROM clock), claim_id = NULL
     WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
 RETURNING id, group_key),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM released, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END)
SELECT id FROM released;


-- marconi_remove_unneeded_bodies: Removes bodies whose message is gone and that nobody waits for.
DELETE FROM messages
 WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM messages AS body
        WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[])
          AND (SELECT true FROM message_states AS state
                WHERE state.queue_id = %(queue_id)s AND state.id = body.id LIMIT 1) IS NULL
          AND NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = body.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s)));


-- marconi_renew: Starts a claim anew.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
claim AS MATERIALIZED (
    SELECT message_ids FROM claims
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()
       FOR NO KEY UPDATE),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
renewed AS (
    UPDATE message_states SET held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
 RETURNING id, group_key),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM renewed, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END),
claim_renewed AS (
    UPDATE claims SET started_at = (SELECT at FROM clock), expires_at = (SELECT at FROM clock) + %(ttl)s * interval '1 second', ttl = %(ttl)s
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
       AND EXISTS (SELECT FROM renewed))
SELECT id FROM renewed;


-- marconi_renew_if_intact: The same, unless a message of it was deleted or changed.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
claim AS MATERIALIZED (
    SELECT message_ids FROM claims
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND expires_at > now()
       FOR NO KEY UPDATE),
intact AS MATERIALIZED (
    SELECT FROM message_states WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
    HAVING count(*) = (SELECT cardinality(message_ids) FROM claim)
       AND min(held_until) = max(held_until)),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
renewed AS (
    UPDATE message_states SET held_until = (SELECT at FROM clock) + %(ttl)s * interval '1 second',
       ttl = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second' THEN %(ttl)s::int + %(grace)s::int ELSE ttl END,
       expires_at = CASE WHEN expires_at < (SELECT at FROM clock) + %(ttl)s * interval '1 second'
                         THEN (SELECT at FROM clock) + %(ttl)s * interval '1 second' + %(grace)s * interval '1 second'
                         ELSE expires_at END
     WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND EXISTS (SELECT FROM intact)
 RETURNING id, group_key),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM renewed, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END),
claim_renewed AS (
    UPDATE claims SET started_at = (SELECT at FROM clock), expires_at = (SELECT at FROM clock) + %(ttl)s * interval '1 second', ttl = %(ttl)s
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
       AND EXISTS (SELECT FROM renewed))
SELECT id FROM renewed;


-- marconi_stats: Counts the messages of a queue.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807)
SELECT counts.total - counts.claimed - counts.parked, counts.claimed, counts.parked,
       oldest.*, newest.*
  FROM the_queue,
       (SELECT count(*) AS total,
               count(*) FILTER (WHERE (claim_id IS NOT NULL AND coalesce(held_until > now(), false))) AS claimed,
               count(*) FILTER (WHERE (held_until IS NOT DISTINCT FROM 'infinity')) AS parked
          FROM message_states
         WHERE queue_id = %(queue_id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)) AS counts
       LEFT JOIN (
    SELECT id, floor(greatest(0, date_part('epoch', now() - created_at)))::bigint AS age,
           to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created
      FROM (SELECT id FROM message_states
             WHERE queue_id = %(queue_id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity')
             ORDER BY id ASC LIMIT 1) AS state
      JOIN messages USING (id)
     WHERE queue_id = %(queue_id)s) AS oldest ON true
       LEFT JOIN (
    SELECT id, floor(greatest(0, date_part('epoch', now() - created_at)))::bigint AS age,
           to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created
      FROM (SELECT id FROM message_states
             WHERE queue_id = %(queue_id)s AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue) AND NOT (held_until IS NOT DISTINCT FROM 'infinity')
             ORDER BY id DESC LIMIT 1) AS state
      JOIN messages USING (id)
     WHERE queue_id = %(queue_id)s) AS newest ON true;


-- marconi_take_subscriptions: Owns the subscriptions that have something to deliver.
WITH known AS MATERIALIZED (
    SELECT * FROM unnest(%(queue_ids)s::bigint[], %(ids)s::bigint[], %(afters)s::bigint[])
                  AS known (queue_id, id, after)),
busy AS MATERIALIZED (
    SELECT owner.ctid
      FROM subscription_owners AS owner
           JOIN subscriptions AS subscription
             ON subscription.queue_id = owner.queue_id AND subscription.id = owner.id
           LEFT JOIN known ON known.queue_id = owner.queue_id AND known.id = owner.id
     WHERE (%(queues)s::bigint[] IS NULL OR owner.queue_id = ANY (%(queues)s::bigint[]))
       AND (owner.owned_until < clock_timestamp() OR owner.owner = %(owner)s::uuid)
       AND subscription.expires_at > now()
       AND (coalesce(owner.confirmation_due_at <= now() AND confirmation IS NOT NULL, false) OR (subscription.confirmed AND subscription.paused_at IS NULL AND (EXISTS (
          SELECT FROM deliveries AS delivery
           WHERE delivery.queue_id = owner.queue_id AND delivery.subscription_id = owner.id
             AND delivery.due_at <= now()) OR EXISTS (
          SELECT FROM deliveries AS delivery
           WHERE delivery.queue_id = owner.queue_id AND delivery.subscription_id = owner.id
             AND delivery.message_id > coalesce(known.after, -1) AND due_at IS NULL))))
       FOR NO KEY UPDATE OF owner SKIP LOCKED),
taken AS (
    UPDATE subscription_owners
       SET owner = %(owner)s::uuid,
           owned_until = clock_timestamp() + %(lease)s * interval '1 second'
     WHERE ctid = ANY (ARRAY(SELECT ctid FROM busy))
 RETURNING *)
SELECT queue_id, id, project, name, metadata, options, subscriber, secret, previous_secret,
       CASE WHEN coalesce(confirmation_due_at <= now() AND confirmation IS NOT NULL, false) THEN confirmation END,
       confirmation_attempts, confirmed AND paused_at IS NULL,
       ceil(date_part('epoch', expires_at - now()))::bigint
  FROM taken JOIN subscriptions USING (queue_id, id) JOIN queues USING (queue_id)
 WHERE floor < 9223372036854775807;


-- marconi_token: What a token says of who shows it, unless a process remembers that.
SELECT coalesce(secret_sha256, decode(repeat('00', 32), 'hex')),
       id IS NOT NULL AND revoked_at IS NULL AND coalesce(expires_at > now(), true),
       coalesce(project, '-'), coalesce(roles, '{admin}'), queues,
       date_part('epoch', expires_at - now()),
       coalesce(last_used_at >= date_trunc('minute', now()), false)
  FROM (VALUES (1)) AS asked LEFT JOIN tokens ON id = %(id)s;


-- marconi_undo_claim: Gives back what a claim holds that nobody has seen, and does not count it.
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
claim AS (
    DELETE FROM claims
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid
 RETURNING message_ids),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
released AS (
    UPDATE message_states SET held_until = (SELECT at FROM clock), claim_id = NULL, claim_count = claim_count - 1
     WHERE
   queue_id = %(queue_id)s AND id = ANY ((SELECT message_ids FROM claim)::bigint[])
   AND claim_id = %(claim_id)s::uuid AND (claim_id IS NOT NULL AND coalesce(held_until > now(), false)) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)
 RETURNING id, group_key),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM released, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN false THEN 0 ELSE known.first_sequence END)
SELECT id FROM released;


-- marconi_verdicts: Carries out verdicts on messages, one by one.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::bigint[], %(verdicts)s::text[], %(seconds)s::int[],
                         %(graces)s::int[], %(reasons)s::text[])
                  WITH ORDINALITY
                  AS given (id, verdict, seconds, grace, reason, place)),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = %(claim_id)s::uuid THEN 'done' ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = %(claim_id)s::uuid THEN 'expired'
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = CASE verdict WHEN 'park' THEN 'infinity' ELSE until END,
       claim_id = CASE verdict WHEN 'touch' THEN claim_id END,
       claim_count = CASE verdict WHEN 'kick' THEN 0 ELSE claim_count END,
       park_reason = reason,
       ttl = CASE WHEN seconds > 0 AND expires_at < until THEN seconds + grace ELSE ttl END,
       expires_at = CASE WHEN verdict = 'park' THEN 'infinity'
                         WHEN verdict = 'kick' THEN until + ttl * interval '1 second'
                         WHEN seconds > 0 AND expires_at < until
                         THEN until + grace * interval '1 second'
                         ELSE expires_at END
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM done, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN EXISTS (SELECT FROM done WHERE verdict = 'kick') THEN 0 ELSE known.first_sequence END),
claim_touched AS (
    UPDATE claims SET expires_at = greatest(expires_at, held.until)
      FROM (SELECT max(until) AS until FROM changes WHERE verdict = 'touch') AS held
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND held.until IS NOT NULL)
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;


-- marconi_verdicts_by_claims: The same with messages of several claims of a queue.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = ANY (%(claim_ids)s::text[]::uuid[]) FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::bigint[], %(verdicts)s::text[], %(seconds)s::int[],
                         %(graces)s::int[], %(reasons)s::text[], %(claim_ids)s::text[]::uuid[])
                  WITH ORDINALITY
                  AS given (id, verdict, seconds, grace, reason, holder, place)),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = holder THEN 'done' ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = holder THEN 'expired'
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = CASE verdict WHEN 'park' THEN 'infinity' ELSE until END,
       claim_id = CASE verdict WHEN 'touch' THEN claim_id END,
       claim_count = CASE verdict WHEN 'kick' THEN 0 ELSE claim_count END,
       park_reason = reason,
       ttl = CASE WHEN seconds > 0 AND expires_at < until THEN seconds + grace ELSE ttl END,
       expires_at = CASE WHEN verdict = 'park' THEN 'infinity'
                         WHEN verdict = 'kick' THEN until + ttl * interval '1 second'
                         WHEN seconds > 0 AND expires_at < until
                         THEN until + grace * interval '1 second'
                         ELSE expires_at END
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM done, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN EXISTS (SELECT FROM done WHERE verdict = 'kick') THEN 0 ELSE known.first_sequence END),
claims_touched AS (
    UPDATE claims SET expires_at = greatest(expires_at, (SELECT at FROM clock) + held.seconds * interval '1 second')
      FROM (SELECT holder, max(seconds) AS seconds FROM judged
             WHERE result = 'done' AND verdict = 'touch' GROUP BY holder) AS held
     WHERE queue_id = %(queue_id)s AND id = held.holder)
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;


-- marconi_verdicts_by_claims_with_replies: The same, with replies to some of them.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = ANY (%(claim_ids)s::text[]::uuid[]) FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::bigint[], %(verdicts)s::text[], %(seconds)s::int[],
                         %(graces)s::int[], %(reasons)s::text[], %(claim_ids)s::text[]::uuid[], %(replies)s::text[])
                  WITH ORDINALITY
                  AS given (id, verdict, seconds, grace, reason, holder, reply, place)),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = holder THEN 'done' ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = holder THEN 'expired'
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
replied AS (
    UPDATE requests
       SET reply = given.reply, ended_at = now(),
           kept_until = now() + %(reply_ttl)s * interval '1 second'
      FROM (SELECT id, asked.reply FROM deleted JOIN asked USING (id)
             WHERE asked.reply IS NOT NULL) AS given
     WHERE message_id = given.id AND lies_in = %(queue_id)s AND ended_at IS NULL),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = CASE verdict WHEN 'park' THEN 'infinity' ELSE until END,
       claim_id = CASE verdict WHEN 'touch' THEN claim_id END,
       claim_count = CASE verdict WHEN 'kick' THEN 0 ELSE claim_count END,
       park_reason = reason,
       ttl = CASE WHEN seconds > 0 AND expires_at < until THEN seconds + grace ELSE ttl END,
       expires_at = CASE WHEN verdict = 'park' THEN 'infinity'
                         WHEN verdict = 'kick' THEN until + ttl * interval '1 second'
                         WHEN seconds > 0 AND expires_at < until
                         THEN until + grace * interval '1 second'
                         ELSE expires_at END
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM done, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN EXISTS (SELECT FROM done WHERE verdict = 'kick') THEN 0 ELSE known.first_sequence END),
claims_touched AS (
    UPDATE claims SET expires_at = greatest(expires_at, (SELECT at FROM clock) + held.seconds * interval '1 second')
      FROM (SELECT holder, max(seconds) AS seconds FROM judged
             WHERE result = 'done' AND verdict = 'touch' GROUP BY holder) AS held
     WHERE queue_id = %(queue_id)s AND id = held.holder)
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;


-- marconi_verdicts_with_replies: Carries out verdicts, and stores replies to messages that it deletes.
SELECT FROM claims
 WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid FOR NO KEY UPDATE;
SELECT FROM message_states
 WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) FOR UPDATE;
WITH the_queue AS MATERIALIZED (SELECT floor, has_subscribers, grouping FROM queues WHERE queue_id = %(queue_id)s AND project = %(project)s AND name = %(name)s
   AND floor < 9223372036854775807),
asked AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::bigint[], %(verdicts)s::text[], %(seconds)s::int[],
                         %(graces)s::int[], %(reasons)s::text[], %(replies)s::text[])
                  WITH ORDINALITY
                  AS given (id, verdict, seconds, grace, reason, reply, place)),
found AS MATERIALIZED (
    SELECT id, ctid AS place_in_table, claim_id, group_key, sequence, CASE WHEN held_until IS NULL OR held_until <= now() THEN 'ready'
            WHEN held_until = 'infinity' THEN 'parked'
            WHEN claim_id IS NOT NULL THEN 'claimed'
            ELSE 'delayed' END AS state
      FROM message_states
     WHERE queue_id = %(queue_id)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now() AND coalesce(moved_in, id) >= (SELECT floor FROM the_queue)),
judged AS MATERIALIZED (
    SELECT asked.*, found.place_in_table, found.group_key, found.sequence, found.state,
           CASE WHEN found.id IS NULL THEN 'gone'
                WHEN verdict = 'kick'
                THEN CASE state WHEN 'parked' THEN 'done' ELSE 'not_parked' END
                WHEN state = 'claimed'
                THEN CASE WHEN claim_id = %(claim_id)s::uuid THEN 'done' ELSE 'taken' END
                WHEN %(is_claimless)s AND verdict = 'park' THEN 'done'
                WHEN claim_id = %(claim_id)s::uuid THEN 'expired'
                ELSE 'not_in_claim' END AS result
      FROM asked LEFT JOIN found USING (id)),
deleted AS (
    DELETE FROM message_states
     WHERE ctid = ANY (ARRAY(
           SELECT place_in_table FROM judged WHERE result = 'done' AND verdict = 'delete'))
 RETURNING id),
bodies AS (
    DELETE FROM messages
     WHERE queue_id = %(queue_id)s AND id = ANY (ARRAY(SELECT id FROM deleted))
       AND (NOT coalesce((SELECT has_subscribers FROM the_queue), false)
            OR NOT EXISTS (
       SELECT FROM subscriptions AS subscription,
              LATERAL (SELECT FROM deliveries AS delivery
                        WHERE delivery.queue_id = subscription.queue_id
                          AND delivery.subscription_id = subscription.id
                          AND delivery.message_id = messages.id LIMIT 1) AS waiting
        WHERE subscription.queue_id = %(queue_id)s))),
replied AS (
    UPDATE requests
       SET reply = given.reply, ended_at = now(),
           kept_until = now() + %(reply_ttl)s * interval '1 second'
      FROM (SELECT id, asked.reply FROM deleted JOIN asked USING (id)
             WHERE asked.reply IS NOT NULL) AS given
     WHERE message_id = given.id AND lies_in = %(queue_id)s AND ended_at IS NULL),
clock AS MATERIALIZED (
    SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN clock_timestamp() END AS at),
changes AS MATERIALIZED (
    SELECT place_in_table, verdict, reason, grace, seconds, (SELECT at FROM clock) + seconds * interval '1 second' AS until
      FROM judged WHERE result = 'done' AND verdict <> 'delete'),
changed AS (
    UPDATE message_states AS state
       SET held_until = CASE verdict WHEN 'park' THEN 'infinity' ELSE until END,
       claim_id = CASE verdict WHEN 'touch' THEN claim_id END,
       claim_count = CASE verdict WHEN 'kick' THEN 0 ELSE claim_count END,
       park_reason = reason,
       ttl = CASE WHEN seconds > 0 AND expires_at < until THEN seconds + grace ELSE ttl END,
       expires_at = CASE WHEN verdict = 'park' THEN 'infinity'
                         WHEN verdict = 'kick' THEN until + ttl * interval '1 second'
                         WHEN seconds > 0 AND expires_at < until
                         THEN until + grace * interval '1 second'
                         ELSE expires_at END
      FROM changes
     WHERE state.ctid = changes.place_in_table),
done AS MATERIALIZED (
    SELECT group_key, sequence, verdict FROM judged WHERE result = 'done'),
woken AS (
    INSERT INTO message_groups AS known
           (queue_id, group_key, first_sequence, last_sequence, available_at)
    SELECT DISTINCT %(queue_id)s::bigint, group_key, 0, 0, (SELECT at FROM clock)
      FROM done, the_queue
     WHERE grouping = 2 AND group_key IS NOT NULL
     ORDER BY group_key
        ON CONFLICT (queue_id, group_key) DO UPDATE
       SET available_at = CASE WHEN false THEN NULL ELSE excluded.available_at END,
           first_sequence = CASE WHEN EXISTS (SELECT FROM done WHERE verdict = 'kick') THEN 0 ELSE known.first_sequence END),
claim_touched AS (
    UPDATE claims SET expires_at = greatest(expires_at, held.until)
      FROM (SELECT max(until) AS until FROM changes WHERE verdict = 'touch') AS held
     WHERE queue_id = %(queue_id)s AND id = %(claim_id)s::uuid AND held.until IS NOT NULL)
SELECT id, result,
       CASE WHEN result <> 'done' THEN coalesce(state, 'gone')
            WHEN verdict = 'delete' THEN 'gone'
            WHEN verdict = 'park' THEN 'parked'
            WHEN seconds = 0 THEN 'ready'
            WHEN verdict = 'touch' THEN 'claimed'
            ELSE 'delayed' END
  FROM judged ORDER BY place;
