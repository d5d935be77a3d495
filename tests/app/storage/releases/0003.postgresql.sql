SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.alert (
    id character varying(32) NOT NULL,
    run_id character varying(32) NOT NULL,
    rule character varying(64) NOT NULL,
    kind character varying(64) NOT NULL,
    severity character varying(16) NOT NULL,
    state character varying(16) NOT NULL,
    muted boolean NOT NULL,
    names jsonb NOT NULL,
    onset_step bigint,
    opened_step bigint,
    last_step bigint,
    resolved_step bigint,
    summary text NOT NULL,
    evidence jsonb NOT NULL,
    remedies jsonb NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    acknowledged_at timestamp with time zone,
    resolved_at timestamp with time zone
);
CREATE TABLE public.alert_change (
    id bigint NOT NULL,
    alert_id character varying(32) NOT NULL,
    kind character varying(16) NOT NULL,
    note text NOT NULL,
    step bigint,
    at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.alert_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.alert_change_id_seq OWNED BY public.alert_change.id;
CREATE TABLE public.attempt (
    run_id character varying(32) NOT NULL,
    number integer NOT NULL,
    worker_id character varying(32),
    start_step bigint NOT NULL,
    lease_until timestamp with time zone,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    outcome character varying(16)
);
CREATE TABLE public.block (
    id bigint NOT NULL,
    metric_id bigint NOT NULL,
    attempt integer NOT NULL,
    level integer NOT NULL,
    layout integer NOT NULL,
    first_step bigint NOT NULL,
    last_step bigint NOT NULL,
    rows integer NOT NULL,
    width integer NOT NULL,
    sealed boolean NOT NULL,
    body bytea NOT NULL
);
CREATE SEQUENCE public.block_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.block_id_seq OWNED BY public.block.id;
CREATE TABLE public.checkpoint (
    run_id character varying(32) NOT NULL,
    attempt integer NOT NULL,
    step bigint NOT NULL,
    best boolean NOT NULL,
    metric double precision,
    size_bytes bigint NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.command (
    id bigint NOT NULL,
    run_id character varying(32) NOT NULL,
    attempt integer NOT NULL,
    kind character varying(16) NOT NULL,
    data jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    done_at timestamp with time zone
);
CREATE SEQUENCE public.command_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.command_id_seq OWNED BY public.command.id;
CREATE TABLE public.detector_state (
    run_id character varying(32) NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE public.event (
    id bigint NOT NULL,
    run_id character varying(32) NOT NULL,
    kind character varying(32) NOT NULL,
    step bigint,
    data jsonb NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.event_id_seq OWNED BY public.event.id;
CREATE TABLE public.idempotency_key (
    key character varying(128) NOT NULL,
    route character varying(128) NOT NULL,
    request_digest character varying(64) NOT NULL,
    status integer NOT NULL,
    response jsonb NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.layout (
    run_id character varying(32) NOT NULL,
    attempt integer NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL
);
CREATE TABLE public.measurement (
    run_id character varying(32) NOT NULL,
    id character varying(32) NOT NULL,
    attempt integer NOT NULL,
    settings jsonb NOT NULL,
    state character varying(16) NOT NULL,
    step bigint,
    seconds double precision,
    samples bigint,
    error text,
    result jsonb,
    asked_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
);
CREATE TABLE public.metric (
    id bigint NOT NULL,
    run_id character varying(32) NOT NULL,
    name character varying(96) NOT NULL,
    unit character varying(32) NOT NULL,
    axis character varying(16) NOT NULL,
    description text NOT NULL,
    count bigint NOT NULL,
    first_step bigint,
    last_step bigint,
    latest bytea,
    latest_layout integer,
    latest_attempt integer
);
CREATE SEQUENCE public.metric_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.metric_id_seq OWNED BY public.metric.id;
CREATE TABLE public.producer (
    run_id character varying(32) NOT NULL,
    attempt integer NOT NULL,
    name character varying(64) NOT NULL,
    last bigint NOT NULL,
    missing jsonb NOT NULL
);
CREATE TABLE public.rule (
    kind character varying(64) NOT NULL,
    override jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public.run (
    id character varying(32) NOT NULL,
    name character varying(200) NOT NULL,
    project character varying(100) NOT NULL,
    tags jsonb NOT NULL,
    notes text NOT NULL,
    state character varying(16) NOT NULL,
    reason text NOT NULL,
    step bigint NOT NULL,
    steps bigint,
    spec jsonb,
    parent character varying(32),
    parent_step bigint,
    attempt integer NOT NULL,
    wanted character varying(16),
    revision bigint NOT NULL,
    failure jsonb,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone
);
CREATE TABLE public.sample (
    run_id character varying(32) NOT NULL,
    step bigint NOT NULL,
    attempt integer NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    caption text NOT NULL,
    png bytea NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.transition (
    id bigint NOT NULL,
    run_id character varying(32) NOT NULL,
    old character varying(16),
    new character varying(16) NOT NULL,
    reason text NOT NULL,
    attempt integer NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.transition_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.transition_id_seq OWNED BY public.transition.id;
CREATE TABLE public.worker (
    id character varying(32) NOT NULL,
    name character varying(128) NOT NULL,
    host character varying(256) NOT NULL,
    pid integer NOT NULL,
    device character varying(128) NOT NULL,
    slots integer NOT NULL,
    datasets jsonb NOT NULL,
    version character varying(64) NOT NULL,
    registered_at timestamp with time zone NOT NULL,
    heard_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.alert_change ALTER COLUMN id SET DEFAULT nextval('public.alert_change_id_seq'::regclass);
ALTER TABLE ONLY public.block ALTER COLUMN id SET DEFAULT nextval('public.block_id_seq'::regclass);
ALTER TABLE ONLY public.command ALTER COLUMN id SET DEFAULT nextval('public.command_id_seq'::regclass);
ALTER TABLE ONLY public.event ALTER COLUMN id SET DEFAULT nextval('public.event_id_seq'::regclass);
ALTER TABLE ONLY public.metric ALTER COLUMN id SET DEFAULT nextval('public.metric_id_seq'::regclass);
ALTER TABLE ONLY public.transition ALTER COLUMN id SET DEFAULT nextval('public.transition_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0003');
INSERT INTO public.alert VALUES ('f89b4925c54772d5', '1e399b39a4853eff', 'non_finite', 'non_finite', 'critical', 'acknowledged', false, '["0.bias"]', 2, 2, 2, NULL, 'Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.', '[{"name": "0.bias", "step": 2, "text": "gradient.norm of 0.bias was infinite at step 2", "value": "Infinity", "metric": "gradient.norm", "threshold": null}]', '[{"patch": {"optimizer": {"learning_rate": 0.005}}, "title": "Learning rate times 0.1", "reason": "The rate is 0.05. Gradient.norm of 0.bias was infinite at step 2. Steps of 0.1 times the length stay where the loss is still curved as the gradient says.", "source": "Godbole et al. 2023, Deep Learning Tuning Playbook, ''How can optimization failures be debugged and mitigated?''", "control": {"learning_rate_factor": 0.1}, "stabilizer": null}, {"patch": {"schedule": {"warmup": {"kind": "linear_warmup", "steps": 60}}}, "title": "Linear warmup", "reason": "There is no warmup. Curvature is highest in the first steps; 60 steps of warmup let it fall before the full rate is used.", "source": "Godbole et al. 2023, Deep Learning Tuning Playbook, ''How can optimization failures be debugged and mitigated?''", "control": null, "stabilizer": "schedule.linear_warmup"}, {"patch": {"gradients": {"clip": {"kind": "norm", "max_norm": 1.0}}}, "title": "Gradient clipping by norm", "reason": "Gradient.norm of 0.bias was infinite at step 2. Clipped at 1, a single large gradient can move the weights no further than a usual one.", "source": "Pascanu, Mikolov and Bengio 2012, arXiv 1211.5063, algorithm 1", "control": {"clip_norm": 1.0}, "stabilizer": "clip.norm"}, {"patch": {"model": {"norm": {"kind": "batch"}}}, "title": "Batch normalization", "reason": "The mlp of depth 3 has no normalization. It sets every layer''s scale anew, so factors do not multiply over depth, and larger rates are stable.", "source": "Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1", "control": null, "stabilizer": "norm.batch"}]', '2026-11-29 22:22:22.027222+00', '2026-11-29 22:22:24.231395+00', '2026-11-29 22:22:24.231395+00', NULL);
INSERT INTO public.alert_change VALUES (1, 'f89b4925c54772d5', 'opened', 'Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.', 2, '2026-11-29 22:22:22.027222+00');
INSERT INTO public.alert_change VALUES (2, 'f89b4925c54772d5', 'acknowledged', 'seen', 24, '2026-11-29 22:22:24.231395+00');
INSERT INTO public.attempt VALUES ('1e399b39a4853eff', 1, 'ee913ae155b8c4c5', 0, '2026-11-29 22:22:41.278501+00', '2026-11-29 22:22:21.278501+00', NULL, NULL);
INSERT INTO public.attempt VALUES ('c32244884b549432', 1, NULL, 0, NULL, '2026-11-29 22:22:23.711922+00', NULL, NULL);
INSERT INTO public.block VALUES (1, 1, 1, 0, 1, 1, 12, 12, 1, false, '\x47595242010002000c00000001000000916a6c7d140000001500000028b52ffd20605d000018010100020000a6d8001628b52ffd20306500002000008000020060c30ec002');
INSERT INTO public.block VALUES (2, 2, 1, 0, 1, 2, 12, 6, 3, false, '\x4759524201000200060000000300000035abb46d160000004000000028b52ffd20306d00003802020202020200010020600428b52ffd2048bd0100a4020000a8a7a8a7a8ff00323232323280804040008080808080ff00808040407f01000000007f01000000000400821aad26d1c0cc05b0');
INSERT INTO public.block VALUES (3, 3, 1, 0, 1, 1, 12, 12, 1, false, '\x47595242010002000c00000001000000e05ed21a140000002300000028b52ffd20605d000018010100020000a6d8001628b52ffd2030d5000070e301006800007300000068000000040080100bb9a08c0a3704');
INSERT INTO public.block VALUES (4, 4, 1, 0, 1, 1, 12, 12, 1, false, '\x47595242010002000c000000010000002ab80b0f140000003600000028b52ffd20605d000018010100020000a6d8001628b52ffd20306d010064029a009a666634323432349a9a99009966663333333333999919197b010000000000000000000001007c2b63');
INSERT INTO public.block VALUES (5, 1, 1, 0, 1, 13, 24, 12, 1, false, '\x47595242010002000c00000001000000395eeded140000001a00000028b52ffd20605d0000180d0100020000a6d8001628b52ffd20308d0000380000807f000000030020c02ebb22c002');
INSERT INTO public.block VALUES (6, 2, 1, 0, 1, 14, 24, 6, 3, false, '\x47595242010002000600000003000000eb41258a160000003d00000028b52ffd20306d0000380e020202020200010020600428b52ffd2048a5010024020000a8a7a8a7a8ff003232323232c040202020200080808080803f817d00000000000600410decbceba5fd9a58033317c002');
INSERT INTO public.block VALUES (7, 3, 1, 0, 1, 13, 24, 12, 1, false, '\x47595242010002000c00000001000000f87d4932140000002300000028b52ffd20605d0000180d0100020000a6d8001628b52ffd2030d5000070ef01006800007300000068000000040080100bb9a08c0a3704');
INSERT INTO public.block VALUES (8, 4, 1, 0, 1, 13, 24, 12, 1, false, '\x47595242010002000c0000000100000035c35d40140000002c00000028b52ffd20605d0000180d0100020000a6d8001628b52ffd20301d0100d0cc9a9a9a9a989a9acccecccecc99cccccccc4c190c0c0c0c7f00031000bb8c625002');
INSERT INTO public.checkpoint VALUES ('1e399b39a4853eff', 1, 20, true, 0.5, 1234, '2026-11-29 22:22:22.910997+00');
INSERT INTO public.command VALUES (1, '1e399b39a4853eff', 1, 'measure', '{"id": "102399721985f248", "settings": {"kind": "ntk", "samples": 32}}', '2026-11-29 22:22:23.423409+00', NULL);
INSERT INTO public.command VALUES (2, '1e399b39a4853eff', 1, 'control', '{"learning_rate_factor": 0.5}', '2026-11-29 22:22:23.599096+00', NULL);
INSERT INTO public.detector_state VALUES ('1e399b39a4853eff', '\x85a776657273696f6e01a96c6173745f7374657018a7617474656d707401a66c61796f7574ce7cc37e0fa572756c657389aa6e6f6e5f66696e69746584a873657474696e6773a27b7da46c69666587a57068617365a46f70656ea8627265616368656404a5636c65616e00aa6f6e7365745f7374657002a87365766572697479a8637269746963616ca56e616d657391a6302e62696173a6756e746f6c6408a66d656d6f727984aa6f6e7365745f7374657002a56e616d657391a6302e62696173a66f726967696ead6772616469656e742e6e6f726da5636c65616e00a86661696c7572657380af72616e6b5f646976657267656e636584a873657474696e6773ac7b22676170223a31652d367da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727981aa6f6e7365745f73746570c0a86661696c7572657380aa646976657267656e636584a873657474696e6773d9337b22666163746f72223a332e302c227374657073223a352c226c6f7374223a302e352c226c6f73745f7374657073223a31307da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727988a5666972737495cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000a6726563656e7481a676616c756573dc0014cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000a462657374cb4000000000000000a56e6f697365cb0000000000000000a673747265616b00aa6f6e7365745f73746570c0a47065616bcb0000000000000000a86469766572676564c2a86661696c7572657380b26578706c6f64696e675f6772616469656e7484a873657474696e6773d9327b226365696c696e67223a3130302e302c22666163746f72223a31302e302c2264657074685f726174696f223a37302e307da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727986a5666972737496cb4011e3779b97f4a8cb4021e3779b97f4a8cb402ad5336963eefccb4031e3779b97f4a8cb40365c55827df1d2cb403ad5336963eefca6726563656e7481a676616c75657396cb4011e3779b97f4a8cb4021e3779b97f4a8cb402ad5336963eefccb4031e3779b97f4a8cb40365c55827df1d2cb403ad5336963eefcaa66697273745f6c6f7373cb4000000000000000ac686967686573745f6c6f7373cb4000000000000000a46465657000aa6f6e7365745f73746570c0a86661696c7572657380b276616e697368696e675f6772616469656e7484a873657474696e6773d9307b22726174696f223a302e3030312c22637269746963616c5f726174696f223a31652d362c226c6179657273223a347da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727980a86661696c7572657380aa646561645f756e69747384a873657474696e6773d9437b227368617265223a302e39352c227472616e73666f726d65725f7368617265223a302e3939352c226576616c756174696f6e73223a332c227374657073223a32307da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727981a773747265616b7382a6636f756e7473c400a6737461727473c400a86661696c7572657380aa6c6f73735f7370696b6584a873657474696e6773d9507b227369676d6173223a362e302c2277696e646f77223a3132382c2272697365223a302e312c227265636f7665725f77697468696e223a31302c226e65775f6c6576656c5f6166746572223a3130307da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727986a6726563656e7481a676616c756573dc0014cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000a56669727374cb4000000000000000a462657374cb7ff0000000000000a673747265616b00aa6f6e7365745f73746570c0a47065616bcb0000000000000000a86661696c7572657380a973686172706e65737384a873657474696e6773d9257b226c696d6974223a312e302c22666172223a322e302c227375737461696e6564223a327da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727983a66c6f7373657381a676616c756573dc0014cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000cb4000000000000000a673747265616b00aa6f6e7365745f73746570c0a86661696c7572657380ac7570646174655f726174696f84a873657474696e6773d9327b2268696768223a302e312c226c6f77223a31652d362c226576616c756174696f6e73223a332c227374657073223a32307da46c69666587a57068617365a8696e616374697665a8627265616368656400a5636c65616e00aa6f6e7365745f73746570c0a87365766572697479a4696e666fa56e616d657390a6756e746f6c6400a66d656d6f727987a46869676882a6636f756e7473c400a6737461727473c400a36c6f7782a6636f756e7473c400a6737461727473c400a472617465cb0000000000000000ac6c6172676573745f72617465cb0000000000000000a6726973696e67c3aa66697273745f6c6f7373cb4000000000000000a46c6f7373cb4000000000000000a86661696c7572657380');
INSERT INTO public.event VALUES (1, '1e399b39a4853eff', 'state', 0, '{"new": "queued", "old": null, "reason": "asked for", "attempt": 0}', '2026-11-29 22:22:20.607274+00');
INSERT INTO public.event VALUES (2, '1e399b39a4853eff', 'state', 0, '{"new": "starting", "old": "queued", "reason": "claimed by worker desk", "attempt": 1}', '2026-11-29 22:22:21.278501+00');
INSERT INTO public.event VALUES (3, '1e399b39a4853eff', 'state', 0, '{"new": "running", "old": "starting", "reason": "training began at step 0", "attempt": 1}', '2026-11-29 22:22:21.563412+00');
INSERT INTO public.event VALUES (4, '1e399b39a4853eff', 'alert', 2, '{"kind": "non_finite", "rule": "non_finite", "alert": "f89b4925c54772d5", "muted": false, "names": ["0.bias"], "state": "open", "change": "opened", "summary": "Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.", "severity": "critical", "onset_step": 2}', '2026-11-29 22:22:22.027222+00');
INSERT INTO public.event VALUES (5, '1e399b39a4853eff', 'checkpoint', 20, '{"best": true, "metric": 0.5, "attempt": 1, "size_bytes": 1234, "reported_at": 1770000020.0}', '2026-11-29 22:22:22.910997+00');
INSERT INTO public.event VALUES (6, '1e399b39a4853eff', 'log', 21, '{"attempt": 1, "message": "a line of the log", "reported_at": 1770000021.0}', '2026-11-29 22:22:23.226768+00');
INSERT INTO public.event VALUES (7, '1e399b39a4853eff', 'measurement', 24, '{"id": "102399721985f248", "kind": "ntk", "state": "waiting"}', '2026-11-29 22:22:23.423409+00');
INSERT INTO public.event VALUES (8, 'c32244884b549432', 'state', 0, '{"new": "running", "old": null, "reason": "attached from outside", "attempt": 1}', '2026-11-29 22:22:23.711922+00');
INSERT INTO public.event VALUES (9, 'c32244884b549432', 'samples', 20, '{"width": 6, "height": 4, "attempt": 1, "caption": "a ring", "reported_at": 1770000020.0}', '2026-11-29 22:22:23.909297+00');
INSERT INTO public.event VALUES (10, '1e399b39a4853eff', 'alert', 24, '{"kind": "non_finite", "rule": "non_finite", "alert": "f89b4925c54772d5", "muted": false, "names": ["0.bias"], "state": "acknowledged", "change": "acknowledged", "summary": "Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.", "severity": "critical", "onset_step": 2}', '2026-11-29 22:22:24.231395+00');
INSERT INTO public.idempotency_key VALUES ('kept-key', 'POST /v1/runs', '249107e4b6becba570a2f1d312718005edd81373c1f83b1e7080dc2a54f286b2', 201, '{"id": "1e399b39a4853eff", "name": "first, ünïcode \"quoted\"", "spec": {"data": {"mix": null, "limit": null, "augment": [], "batch_size": 64, "curriculum": null, "label_noise": 0.0, "sequence_length": 64, "validation_fraction": 0.2}, "init": {"gain": null, "kind": "he_normal", "mode": "fan_in"}, "loss": null, "seed": 0, "task": {"kind": "classification", "dataset": {"kind": "digits"}}, "model": {"kind": "mlp", "norm": null, "depth": 3, "width": 128, "scaling": null, "activation": {"kind": "relu"}, "connection": null}, "noise": {"input": null, "gradient": null, "multiplicative": null}, "rules": {}, "steps": 600, "probes": {"modes": {"every": 200, "enabled": true}, "ranks": {"every": 100, "enabled": true, "samples": 128, "features": 128}, "budget": 0.2, "kernel": {"every": 500, "enabled": true, "samples": 16}, "signals": {"every": 10, "enabled": true}, "weights": {"every": 10, "enabled": true}, "branches": {"every": 10, "enabled": true}, "distance": {"every": 50, "enabled": true}, "recorder": {"steps": 64, "enabled": true}, "spectral": {"every": 20, "enabled": true, "tolerance": 0.001, "max_iterations": 50}, "attention": {"every": 10, "enabled": true, "sequences": 4}, "condition": {"every": 500, "enabled": true, "max_elements": 524288}, "curvature": {"every": 50, "enabled": true, "tolerance": 0.03, "batch_size": null, "eigenvalues": 1, "max_products": 20, "trace_samples": 1}, "direction": {"every": 10, "enabled": true}, "gradients": {"every": 5, "enabled": true}, "smoothness": {"rho": 0.05, "every": 200, "enabled": true}, "statistics": {"every": 10, "enabled": true}, "activations": {"every": 10, "window": 10, "enabled": true, "saturation": 0.01}, "second_moment": {"every": 5, "enabled": true}, "gradient_noise": {"every": 200, "parts": 8, "memory": 0.9, "enabled": true}, "input_gradient": {"every": 200, "enabled": true}, "representation": {"every": 200, "enabled": true, "samples": 128}, "block_curvature": {"every": 200, "blocks": 4, "enabled": true, "tolerance": 0.05, "max_products": 10}}, "threads": null, "schedule": {"kind": "cosine", "warmup": null, "final_factor": 0.0}, "gradients": {"clip": null}, "lipschitz": {"weight_clip": null, "gradient_penalty": null}, "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": false, "weight_decay": 0.005, "learning_rate": 0.05}, "precision": {"kind": "fp32"}, "zero_last": null, "linearized": null, "validation": {"every": 50, "max_batches": null}, "checkpoints": {"best": true, "keep": 3, "every": 100}, "distributed": null, "accumulation": {"kind": "micro_batches", "steps": 1}, "regularization": {"dropout": null, "dropconnect": null, "distillation": null, "weight_decay": null, "label_smoothing": null, "stochastic_depth": null, "confidence_penalty": null}, "parametrization": null}, "step": 0, "tags": ["kept", "räder"], "notes": "two\nlines", "state": "queued", "steps": 600, "alerts": {}, "parent": null, "reason": "asked for", "wanted": null, "worker": null, "attempt": 0, "failure": null, "project": "old", "ended_at": null, "revision": 1, "created_at": "2026-11-29T22:22:20.607274Z", "started_at": null, "updated_at": "2026-11-29T22:22:20.607274Z", "parent_step": null}', '2026-11-29 22:22:20.607274+00');
INSERT INTO public.layout VALUES ('1e399b39a4853eff', 1, 1, '{"axes": {"parameter": ["0.weight", "0.bias", "2.weight"]}, "metrics": [{"axis": "run", "name": "loss.train", "unit": "1", "description": "Loss."}, {"axis": "parameter", "name": "gradient.norm", "unit": "1", "description": "Norm."}], "version": 1}');
INSERT INTO public.measurement VALUES ('1e399b39a4853eff', '102399721985f248', 1, '{"kind": "ntk", "samples": 32}', 'waiting', NULL, NULL, NULL, NULL, NULL, '2026-11-29 22:22:23.423409+00', NULL);
INSERT INTO public.metric VALUES (1, '1e399b39a4853eff', 'loss.train', '1', 'run', 'Loss.', 24, 1, 24, '\x0000c07f', 1, 1);
INSERT INTO public.metric VALUES (2, '1e399b39a4853eff', 'gradient.norm', '1', 'parameter', 'Norm.', 12, 2, 24, '\x000040415419c07f0000c0c1', 1, 1);
INSERT INTO public.metric VALUES (3, '1e399b39a4853eff', 'progress.seconds', 's', 'run', 'Wall time of the measurement, since the run was created; kept by the backend from each frame.', 24, 1, 24, '\x824bc6cb', 1, 1);
INSERT INTO public.metric VALUES (4, '1e399b39a4853eff', 'progress.epoch', '1', 'run', 'Passes over the training data so far, fractional; kept by the backend from each frame.', 24, 1, 24, '\x9a991940', 1, 1);
INSERT INTO public.producer VALUES ('1e399b39a4853eff', 1, 'trainer', 6, '[]');
INSERT INTO public.producer VALUES ('c32244884b549432', 1, 'trainer', 1, '[]');
INSERT INTO public.rule VALUES ('loss_spike', '{"enabled": true, "settings": {}, "severity": "info"}', '2026-11-29 22:22:24.527336+00');
INSERT INTO public.run VALUES ('c32244884b549432', 'attached', 'default', '[]', '', 'running', 'attached from outside', 0, NULL, NULL, NULL, NULL, 1, NULL, 3, NULL, '2026-11-29 22:22:23.711922+00', '2026-11-29 22:22:23.909297+00', '2026-11-29 22:22:23.711922+00', NULL);
INSERT INTO public.run VALUES ('1e399b39a4853eff', 'first, ünïcode "quoted"', 'old', '["kept", "räder"]', 'two
lines', 'running', 'training began at step 0', 24, 600, '{"data": {"mix": null, "limit": null, "augment": [], "batch_size": 64, "curriculum": null, "label_noise": 0.0, "sequence_length": 64, "validation_fraction": 0.2}, "init": {"gain": null, "kind": "he_normal", "mode": "fan_in"}, "loss": null, "seed": 0, "task": {"kind": "classification", "dataset": {"kind": "digits"}}, "model": {"kind": "mlp", "norm": null, "depth": 3, "width": 128, "scaling": null, "activation": {"kind": "relu"}, "connection": null}, "noise": {"input": null, "gradient": null, "multiplicative": null}, "rules": {}, "steps": 600, "probes": {"modes": {"every": 200, "enabled": true}, "ranks": {"every": 100, "enabled": true, "samples": 128, "features": 128}, "budget": 0.2, "kernel": {"every": 500, "enabled": true, "samples": 16}, "signals": {"every": 10, "enabled": true}, "weights": {"every": 10, "enabled": true}, "branches": {"every": 10, "enabled": true}, "distance": {"every": 50, "enabled": true}, "recorder": {"steps": 64, "enabled": true}, "spectral": {"every": 20, "enabled": true, "tolerance": 0.001, "max_iterations": 50}, "attention": {"every": 10, "enabled": true, "sequences": 4}, "condition": {"every": 500, "enabled": true, "max_elements": 524288}, "curvature": {"every": 50, "enabled": true, "tolerance": 0.03, "batch_size": null, "eigenvalues": 1, "max_products": 20, "trace_samples": 1}, "direction": {"every": 10, "enabled": true}, "gradients": {"every": 5, "enabled": true}, "smoothness": {"rho": 0.05, "every": 200, "enabled": true}, "statistics": {"every": 10, "enabled": true}, "activations": {"every": 10, "window": 10, "enabled": true, "saturation": 0.01}, "second_moment": {"every": 5, "enabled": true}, "gradient_noise": {"every": 200, "parts": 8, "memory": 0.9, "enabled": true}, "input_gradient": {"every": 200, "enabled": true}, "representation": {"every": 200, "enabled": true, "samples": 128}, "block_curvature": {"every": 200, "blocks": 4, "enabled": true, "tolerance": 0.05, "max_products": 10}}, "threads": null, "schedule": {"kind": "cosine", "warmup": null, "final_factor": 0.0}, "gradients": {"clip": null}, "lipschitz": {"weight_clip": null, "gradient_penalty": null}, "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": false, "weight_decay": 0.005, "learning_rate": 0.05}, "precision": {"kind": "fp32"}, "zero_last": null, "linearized": null, "validation": {"every": 50, "max_batches": null}, "checkpoints": {"best": true, "keep": 3, "every": 100}, "distributed": null, "accumulation": {"kind": "micro_batches", "steps": 1}, "regularization": {"dropout": null, "dropconnect": null, "distillation": null, "weight_decay": null, "label_smoothing": null, "stochastic_depth": null, "confidence_penalty": null}, "parametrization": null}', NULL, NULL, 1, NULL, 13, NULL, '2026-11-29 22:22:20.607274+00', '2026-11-29 22:22:23.423409+00', '2026-11-29 22:22:21.563412+00', NULL);
INSERT INTO public.sample VALUES ('c32244884b549432', 20, 1, 6, 4, 'a ring', '\x89504e470d0a1a0a0000000d4948445200000006000000040800000000886f119f0000000e4944415478da63600703066c1400094c00a9a8549a770000000049454e44ae426082', '2026-11-29 22:22:23.909297+00');
INSERT INTO public.transition VALUES (1, '1e399b39a4853eff', NULL, 'queued', 'asked for', 0, '2026-11-29 22:22:20.607274+00');
INSERT INTO public.transition VALUES (2, '1e399b39a4853eff', 'queued', 'starting', 'claimed by worker desk', 1, '2026-11-29 22:22:21.278501+00');
INSERT INTO public.transition VALUES (3, '1e399b39a4853eff', 'starting', 'running', 'training began at step 0', 1, '2026-11-29 22:22:21.563412+00');
INSERT INTO public.transition VALUES (4, 'c32244884b549432', NULL, 'running', 'attached from outside', 1, '2026-11-29 22:22:23.711922+00');
INSERT INTO public.worker VALUES ('ee913ae155b8c4c5', 'desk', 'here', 7, 'cpu', 1, '["digits"]', '0.1.0', '2026-11-29 22:22:20.168388+00', '2026-11-29 22:22:21.278501+00');
SELECT pg_catalog.setval('public.alert_change_id_seq', 2, true);
SELECT pg_catalog.setval('public.block_id_seq', 8, true);
SELECT pg_catalog.setval('public.command_id_seq', 2, true);
SELECT pg_catalog.setval('public.event_id_seq', 10, true);
SELECT pg_catalog.setval('public.metric_id_seq', 4, true);
SELECT pg_catalog.setval('public.transition_id_seq', 4, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.alert
    ADD CONSTRAINT pk_alert PRIMARY KEY (id);
ALTER TABLE ONLY public.alert_change
    ADD CONSTRAINT pk_alert_change PRIMARY KEY (id);
ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT pk_attempt PRIMARY KEY (run_id, number);
ALTER TABLE ONLY public.block
    ADD CONSTRAINT pk_block PRIMARY KEY (id);
ALTER TABLE ONLY public.checkpoint
    ADD CONSTRAINT pk_checkpoint PRIMARY KEY (run_id, attempt, step);
ALTER TABLE ONLY public.command
    ADD CONSTRAINT pk_command PRIMARY KEY (id);
ALTER TABLE ONLY public.detector_state
    ADD CONSTRAINT pk_detector_state PRIMARY KEY (run_id);
ALTER TABLE ONLY public.event
    ADD CONSTRAINT pk_event PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency_key
    ADD CONSTRAINT pk_idempotency_key PRIMARY KEY (key, route);
ALTER TABLE ONLY public.layout
    ADD CONSTRAINT pk_layout PRIMARY KEY (run_id, attempt, version);
ALTER TABLE ONLY public.measurement
    ADD CONSTRAINT pk_measurement PRIMARY KEY (run_id, id);
ALTER TABLE ONLY public.metric
    ADD CONSTRAINT pk_metric PRIMARY KEY (id);
ALTER TABLE ONLY public.producer
    ADD CONSTRAINT pk_producer PRIMARY KEY (run_id, attempt, name);
ALTER TABLE ONLY public.rule
    ADD CONSTRAINT pk_rule PRIMARY KEY (kind);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT pk_run PRIMARY KEY (id);
ALTER TABLE ONLY public.sample
    ADD CONSTRAINT pk_sample PRIMARY KEY (run_id, step);
ALTER TABLE ONLY public.transition
    ADD CONSTRAINT pk_transition PRIMARY KEY (id);
ALTER TABLE ONLY public.worker
    ADD CONSTRAINT pk_worker PRIMARY KEY (id);
ALTER TABLE ONLY public.worker
    ADD CONSTRAINT uq_worker_name UNIQUE (name);
CREATE INDEX ix_alert_change_alert_id ON public.alert_change USING btree (alert_id);
CREATE INDEX ix_alert_opened_at ON public.alert USING btree (opened_at);
CREATE INDEX ix_alert_run_id ON public.alert USING btree (run_id);
CREATE INDEX ix_alert_severity ON public.alert USING btree (severity);
CREATE INDEX ix_alert_state ON public.alert USING btree (state);
CREATE INDEX ix_attempt_lease_until ON public.attempt USING btree (lease_until);
CREATE INDEX ix_attempt_worker_id ON public.attempt USING btree (worker_id);
CREATE INDEX ix_block_place ON public.block USING btree (metric_id, level, attempt, first_step);
CREATE INDEX ix_block_unsealed ON public.block USING btree (metric_id, attempt, level, layout, rows, width) WHERE (sealed IS FALSE);
CREATE INDEX ix_command_run_id ON public.command USING btree (run_id);
CREATE INDEX ix_event_run_id ON public.event USING btree (run_id);
CREATE INDEX ix_idempotency_key_at ON public.idempotency_key USING btree (at);
CREATE INDEX ix_metric_run_id ON public.metric USING btree (run_id);
CREATE INDEX ix_run_created_at ON public.run USING btree (created_at);
CREATE INDEX ix_run_parent ON public.run USING btree (parent);
CREATE INDEX ix_run_project ON public.run USING btree (project);
CREATE INDEX ix_run_state ON public.run USING btree (state);
CREATE INDEX ix_transition_run_id ON public.transition USING btree (run_id);
CREATE UNIQUE INDEX uq_metric_run_id_name ON public.metric USING btree (run_id, name);
ALTER TABLE ONLY public.alert_change
    ADD CONSTRAINT fk_alert_change_alert_id_alert FOREIGN KEY (alert_id) REFERENCES public.alert(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.alert
    ADD CONSTRAINT fk_alert_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT fk_attempt_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT fk_attempt_worker_id_worker FOREIGN KEY (worker_id) REFERENCES public.worker(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.block
    ADD CONSTRAINT fk_block_metric_id_metric FOREIGN KEY (metric_id) REFERENCES public.metric(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.checkpoint
    ADD CONSTRAINT fk_checkpoint_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.command
    ADD CONSTRAINT fk_command_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.detector_state
    ADD CONSTRAINT fk_detector_state_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.event
    ADD CONSTRAINT fk_event_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.layout
    ADD CONSTRAINT fk_layout_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.measurement
    ADD CONSTRAINT fk_measurement_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.metric
    ADD CONSTRAINT fk_metric_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.producer
    ADD CONSTRAINT fk_producer_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.run
    ADD CONSTRAINT fk_run_parent_run FOREIGN KEY (parent) REFERENCES public.run(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.sample
    ADD CONSTRAINT fk_sample_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.transition
    ADD CONSTRAINT fk_transition_run_id_run FOREIGN KEY (run_id) REFERENCES public.run(id) ON DELETE CASCADE;
