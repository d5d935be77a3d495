BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE alert (
	id VARCHAR(32) NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	rule VARCHAR(64) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	severity VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	muted BOOLEAN NOT NULL, 
	names JSON NOT NULL, 
	onset_step BIGINT, 
	opened_step BIGINT, 
	last_step BIGINT, 
	resolved_step BIGINT, 
	summary TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	remedies JSON NOT NULL, 
	opened_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	acknowledged_at DATETIME, 
	resolved_at DATETIME, 
	CONSTRAINT pk_alert PRIMARY KEY (id), 
	CONSTRAINT fk_alert_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "alert" VALUES('b978e1a1b4e05aa6','53ac93b27ed539ff','non_finite','non_finite','critical','acknowledged',0,'["0.bias"]',2,2,2,NULL,'Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.','[{"metric": "gradient.norm", "name": "0.bias", "step": 2, "value": "Infinity", "threshold": null, "text": "gradient.norm of 0.bias was infinite at step 2"}]','[{"title": "Learning rate times 0.1", "stabilizer": null, "patch": {"optimizer": {"learning_rate": 0.005}}, "control": {"learning_rate_factor": 0.1}, "reason": "The rate is 0.05. Gradient.norm of 0.bias was infinite at step 2. Steps of 0.1 times the length stay where the loss is still curved as the gradient says.", "source": "Godbole et al. 2023, Deep Learning Tuning Playbook, ''How can optimization failures be debugged and mitigated?''"}, {"title": "Linear warmup", "stabilizer": "schedule.linear_warmup", "patch": {"schedule": {"warmup": {"kind": "linear_warmup", "steps": 60}}}, "control": null, "reason": "There is no warmup. Curvature is highest in the first steps; 60 steps of warmup let it fall before the full rate is used.", "source": "Godbole et al. 2023, Deep Learning Tuning Playbook, ''How can optimization failures be debugged and mitigated?''"}, {"title": "Gradient clipping by norm", "stabilizer": "clip.norm", "patch": {"gradients": {"clip": {"kind": "norm", "max_norm": 1.0}}}, "control": {"clip_norm": 1.0}, "reason": "Gradient.norm of 0.bias was infinite at step 2. Clipped at 1, a single large gradient can move the weights no further than a usual one.", "source": "Pascanu, Mikolov and Bengio 2012, arXiv 1211.5063, algorithm 1"}, {"title": "Batch normalization", "stabilizer": "norm.batch", "patch": {"model": {"norm": {"kind": "batch"}}}, "control": null, "reason": "The mlp of depth 3 has no normalization. It sets every layer''s scale anew, so factors do not multiply over depth, and larger rates are stable.", "source": "Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1"}]','2026-11-29 22:21:37.984771','2026-11-29 22:21:39.068491','2026-11-29 22:21:39.068491',NULL);
CREATE TABLE alert_change (
	id INTEGER NOT NULL, 
	alert_id VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	note TEXT NOT NULL, 
	step BIGINT, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_alert_change PRIMARY KEY (id), 
	CONSTRAINT fk_alert_change_alert_id_alert FOREIGN KEY(alert_id) REFERENCES alert (id) ON DELETE CASCADE
);
INSERT INTO "alert_change" VALUES(1,'b978e1a1b4e05aa6','opened','Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.',2,'2026-11-29 22:21:37.984771');
INSERT INTO "alert_change" VALUES(2,'b978e1a1b4e05aa6','acknowledged','seen',24,'2026-11-29 22:21:39.068491');
CREATE TABLE attempt (
	run_id VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	worker_id VARCHAR(32), 
	start_step BIGINT NOT NULL, 
	lease_until DATETIME, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	outcome VARCHAR(16), 
	CONSTRAINT pk_attempt PRIMARY KEY (run_id, number), 
	CONSTRAINT fk_attempt_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE, 
	CONSTRAINT fk_attempt_worker_id_worker FOREIGN KEY(worker_id) REFERENCES worker (id) ON DELETE SET NULL
);
INSERT INTO "attempt" VALUES('53ac93b27ed539ff',1,'45dfbb996ddd29df',0,'2026-11-29 22:21:57.312690','2026-11-29 22:21:37.312690',NULL,NULL);
INSERT INTO "attempt" VALUES('f75889bc1b1f456d',1,NULL,0,NULL,'2026-11-29 22:21:38.808276',NULL,NULL);
CREATE TABLE block (
	id INTEGER NOT NULL, 
	metric_id INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	level INTEGER NOT NULL, 
	layout INTEGER NOT NULL, 
	first_step BIGINT NOT NULL, 
	last_step BIGINT NOT NULL, 
	rows INTEGER NOT NULL, 
	width INTEGER NOT NULL, 
	sealed BOOLEAN NOT NULL, 
	body BLOB NOT NULL, 
	CONSTRAINT pk_block PRIMARY KEY (id), 
	CONSTRAINT fk_block_metric_id_metric FOREIGN KEY(metric_id) REFERENCES metric (id) ON DELETE CASCADE
);
INSERT INTO "block" VALUES(1,1,1,0,1,1,12,12,1,0,X'47595242010002000C00000001000000916A6C7D140000001500000028B52FFD20605D000018010100020000A6D8001628B52FFD20306500002000008000020060C30EC002');
INSERT INTO "block" VALUES(2,2,1,0,1,2,12,6,3,0,X'4759524201000200060000000300000035ABB46D160000004000000028B52FFD20306D00003802020202020200010020600428B52FFD2048BD0100A4020000A8A7A8A7A8FF00323232323280804040008080808080FF00808040407F01000000007F01000000000400821AAD26D1C0CC05B0');
INSERT INTO "block" VALUES(3,3,1,0,1,1,12,12,1,0,X'47595242010002000C00000001000000FA07657C140000002300000028B52FFD20605D000018010100020000A6D8001628B52FFD2030D50000700F01006900007300000068000000040080100BB9A08C0A3704');
INSERT INTO "block" VALUES(4,4,1,0,1,1,12,12,1,0,X'47595242010002000C000000010000002AB80B0F140000003600000028B52FFD20605D000018010100020000A6D8001628B52FFD20306D010064029A009A666634323432349A9A99009966663333333333999919197B010000000000000000000001007C2B63');
INSERT INTO "block" VALUES(5,1,1,0,1,13,24,12,1,0,X'47595242010002000C00000001000000395EEDED140000001A00000028B52FFD20605D0000180D0100020000A6D8001628B52FFD20308D0000380000807F000000030020C02EBB22C002');
INSERT INTO "block" VALUES(6,2,1,0,1,14,24,6,3,0,X'47595242010002000600000003000000EB41258A160000003D00000028B52FFD20306D0000380E020202020200010020600428B52FFD2048A5010024020000A8A7A8A7A8FF003232323232C040202020200080808080803F817D00000000000600410DECBCEBA5FD9A58033317C002');
INSERT INTO "block" VALUES(7,3,1,0,1,13,24,12,1,0,X'47595242010002000C000000010000003B90E220140000002300000028B52FFD20605D0000180D0100020000A6D8001628B52FFD2030D50000701B01006900007300000068000000040080100BB9A08C0A3704');
INSERT INTO "block" VALUES(8,4,1,0,1,13,24,12,1,0,X'47595242010002000C0000000100000035C35D40140000002C00000028B52FFD20605D0000180D0100020000A6D8001628B52FFD20301D0100D0CC9A9A9A9A989A9ACCCECCCECC99CCCCCCCC4C190C0C0C0C7F00031000BB8C625002');
CREATE TABLE checkpoint (
	run_id VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	step BIGINT NOT NULL, 
	best BOOLEAN NOT NULL, 
	metric DOUBLE, 
	size_bytes BIGINT NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_checkpoint PRIMARY KEY (run_id, attempt, step), 
	CONSTRAINT fk_checkpoint_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "checkpoint" VALUES('53ac93b27ed539ff',1,20,1,0.5,1234,'2026-11-29 22:21:38.447039');
CREATE TABLE command (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	data JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	done_at DATETIME, 
	CONSTRAINT fk_command_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "command" VALUES(1,'53ac93b27ed539ff',1,'measure','{"id": "7c19648ca2fa079f", "settings": {"kind": "ntk", "samples": 32}}','2026-11-29 22:21:38.667357',NULL);
INSERT INTO "command" VALUES(2,'53ac93b27ed539ff',1,'control','{"learning_rate_factor": 0.5}','2026-11-29 22:21:38.783356',NULL);
CREATE TABLE detector_state (
	run_id VARCHAR(32) NOT NULL, 
	body BLOB NOT NULL, 
	CONSTRAINT pk_detector_state PRIMARY KEY (run_id), 
	CONSTRAINT fk_detector_state_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "detector_state" VALUES('53ac93b27ed539ff',X'85A776657273696F6E01A96C6173745F7374657018A7617474656D707401A66C61796F7574CE7CC37E0FA572756C657389AA6E6F6E5F66696E69746584A873657474696E6773A27B7DA46C69666587A57068617365A46F70656EA8627265616368656404A5636C65616E00AA6F6E7365745F7374657002A87365766572697479A8637269746963616CA56E616D657391A6302E62696173A6756E746F6C6408A66D656D6F727984AA6F6E7365745F7374657002A56E616D657391A6302E62696173A66F726967696EAD6772616469656E742E6E6F726DA5636C65616E00A86661696C7572657380AF72616E6B5F646976657267656E636584A873657474696E6773AC7B22676170223A31652D367DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727981AA6F6E7365745F73746570C0A86661696C7572657380AA646976657267656E636584A873657474696E6773D9337B22666163746F72223A332E302C227374657073223A352C226C6F7374223A302E352C226C6F73745F7374657073223A31307DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727988A5666972737495CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000A6726563656E7481A676616C756573DC0014CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000A462657374CB4000000000000000A56E6F697365CB0000000000000000A673747265616B00AA6F6E7365745F73746570C0A47065616BCB0000000000000000A86469766572676564C2A86661696C7572657380B26578706C6F64696E675F6772616469656E7484A873657474696E6773D9327B226365696C696E67223A3130302E302C22666163746F72223A31302E302C2264657074685F726174696F223A37302E307DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727986A5666972737496CB4011E3779B97F4A8CB4021E3779B97F4A8CB402AD5336963EEFCCB4031E3779B97F4A8CB40365C55827DF1D2CB403AD5336963EEFCA6726563656E7481A676616C75657396CB4011E3779B97F4A8CB4021E3779B97F4A8CB402AD5336963EEFCCB4031E3779B97F4A8CB40365C55827DF1D2CB403AD5336963EEFCAA66697273745F6C6F7373CB4000000000000000AC686967686573745F6C6F7373CB4000000000000000A46465657000AA6F6E7365745F73746570C0A86661696C7572657380B276616E697368696E675F6772616469656E7484A873657474696E6773D9307B22726174696F223A302E3030312C22637269746963616C5F726174696F223A31652D362C226C6179657273223A347DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727980A86661696C7572657380AA646561645F756E69747384A873657474696E6773D9437B227368617265223A302E39352C227472616E73666F726D65725F7368617265223A302E3939352C226576616C756174696F6E73223A332C227374657073223A32307DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727981A773747265616B7382A6636F756E7473C400A6737461727473C400A86661696C7572657380AA6C6F73735F7370696B6584A873657474696E6773D9507B227369676D6173223A362E302C2277696E646F77223A3132382C2272697365223A302E312C227265636F7665725F77697468696E223A31302C226E65775F6C6576656C5F6166746572223A3130307DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727986A6726563656E7481A676616C756573DC0014CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000A56669727374CB4000000000000000A462657374CB7FF0000000000000A673747265616B00AA6F6E7365745F73746570C0A47065616BCB0000000000000000A86661696C7572657380A973686172706E65737384A873657474696E6773D9257B226C696D6974223A312E302C22666172223A322E302C227375737461696E6564223A327DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727983A66C6F7373657381A676616C756573DC0014CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000CB4000000000000000A673747265616B00AA6F6E7365745F73746570C0A86661696C7572657380AC7570646174655F726174696F84A873657474696E6773D9327B2268696768223A302E312C226C6F77223A31652D362C226576616C756174696F6E73223A332C227374657073223A32307DA46C69666587A57068617365A8696E616374697665A8627265616368656400A5636C65616E00AA6F6E7365745F73746570C0A87365766572697479A4696E666FA56E616D657390A6756E746F6C6400A66D656D6F727987A46869676882A6636F756E7473C400A6737461727473C400A36C6F7782A6636F756E7473C400A6737461727473C400A472617465CB0000000000000000AC6C6172676573745F72617465CB0000000000000000A6726973696E67C3AA66697273745F6C6F7373CB4000000000000000A46C6F7373CB4000000000000000A86661696C7572657380');
CREATE TABLE event (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id VARCHAR(32) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	step BIGINT, 
	data JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT fk_event_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "event" VALUES(1,'53ac93b27ed539ff','state',0,'{"old": null, "new": "queued", "reason": "asked for", "attempt": 0}','2026-11-29 22:21:36.879358');
INSERT INTO "event" VALUES(2,'53ac93b27ed539ff','state',0,'{"old": "queued", "new": "starting", "reason": "claimed by worker desk", "attempt": 1}','2026-11-29 22:21:37.312690');
INSERT INTO "event" VALUES(3,'53ac93b27ed539ff','state',0,'{"old": "starting", "new": "running", "reason": "training began at step 0", "attempt": 1}','2026-11-29 22:21:37.591429');
INSERT INTO "event" VALUES(4,'53ac93b27ed539ff','alert',2,'{"alert": "b978e1a1b4e05aa6", "change": "opened", "rule": "non_finite", "kind": "non_finite", "severity": "critical", "state": "open", "muted": false, "summary": "Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.", "names": ["0.bias"], "onset_step": 2}','2026-11-29 22:21:37.984771');
INSERT INTO "event" VALUES(5,'53ac93b27ed539ff','checkpoint',20,'{"size_bytes": 1234, "best": true, "metric": 0.5, "attempt": 1, "reported_at": 1770000020.0}','2026-11-29 22:21:38.447039');
INSERT INTO "event" VALUES(6,'53ac93b27ed539ff','log',21,'{"message": "a line of the log", "attempt": 1, "reported_at": 1770000021.0}','2026-11-29 22:21:38.547426');
INSERT INTO "event" VALUES(7,'53ac93b27ed539ff','measurement',24,'{"id": "7c19648ca2fa079f", "kind": "ntk", "state": "waiting"}','2026-11-29 22:21:38.667357');
INSERT INTO "event" VALUES(8,'f75889bc1b1f456d','state',0,'{"old": null, "new": "running", "reason": "attached from outside", "attempt": 1}','2026-11-29 22:21:38.808276');
INSERT INTO "event" VALUES(9,'f75889bc1b1f456d','samples',20,'{"caption": "a ring", "width": 6, "height": 4, "attempt": 1, "reported_at": 1770000020.0}','2026-11-29 22:21:38.827805');
INSERT INTO "event" VALUES(10,'53ac93b27ed539ff','alert',24,'{"alert": "b978e1a1b4e05aa6", "change": "acknowledged", "rule": "non_finite", "kind": "non_finite", "severity": "critical", "state": "acknowledged", "muted": false, "summary": "Since step 2 the training computes with NaN or infinity (gradient.norm). The first layer to show it, in order of depth, is the gradient of parameter 0.bias.", "names": ["0.bias"], "onset_step": 2}','2026-11-29 22:21:39.068491');
CREATE TABLE idempotency_key (
	"key" VARCHAR(128) NOT NULL, 
	route VARCHAR(128) NOT NULL, 
	request_digest VARCHAR(64) NOT NULL, 
	status INTEGER NOT NULL, 
	response JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_idempotency_key PRIMARY KEY ("key", route)
);
INSERT INTO "idempotency_key" VALUES('kept-key','POST /v1/runs','249107e4b6becba570a2f1d312718005edd81373c1f83b1e7080dc2a54f286b2',201,'{"id": "53ac93b27ed539ff", "name": "first, \u00fcn\u00efcode \"quoted\"", "project": "old", "tags": ["kept", "r\u00e4der"], "notes": "two\nlines", "state": "queued", "reason": "asked for", "wanted": null, "step": 0, "steps": 600, "spec": {"task": {"kind": "classification", "dataset": {"kind": "digits"}}, "model": {"width": 128, "scaling": null, "kind": "mlp", "depth": 3, "activation": {"kind": "relu"}, "norm": null, "connection": null}, "init": {"kind": "he_normal", "mode": "fan_in", "gain": null}, "zero_last": null, "parametrization": null, "lipschitz": {"gradient_penalty": null, "weight_clip": null}, "regularization": {"dropout": null, "dropconnect": null, "stochastic_depth": null, "label_smoothing": null, "confidence_penalty": null, "distillation": null, "weight_decay": null}, "data": {"batch_size": 64, "validation_fraction": 0.2, "limit": null, "sequence_length": 64, "label_noise": 0.0, "augment": [], "mix": null, "curriculum": null}, "noise": {"input": null, "multiplicative": null, "gradient": null}, "linearized": null, "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": false, "weight_decay": 0.005}, "schedule": {"kind": "cosine", "final_factor": 0.0, "warmup": null}, "gradients": {"clip": null}, "loss": null, "accumulation": {"kind": "micro_batches", "steps": 1}, "precision": {"kind": "fp32"}, "distributed": null, "probes": {"budget": 0.2, "recorder": {"enabled": true, "steps": 64}, "gradients": {"enabled": true, "every": 5}, "direction": {"enabled": true, "every": 10}, "gradient_noise": {"enabled": true, "every": 200, "parts": 8, "memory": 0.9}, "weights": {"enabled": true, "every": 10}, "second_moment": {"enabled": true, "every": 5}, "activations": {"enabled": true, "every": 10, "window": 10, "saturation": 0.01}, "signals": {"enabled": true, "every": 10}, "branches": {"enabled": true, "every": 10}, "ranks": {"enabled": true, "every": 100, "samples": 128, "features": 128}, "attention": {"enabled": true, "every": 10, "sequences": 4}, "spectral": {"enabled": true, "every": 20, "tolerance": 0.001, "max_iterations": 50}, "curvature": {"enabled": true, "every": 50, "batch_size": null, "tolerance": 0.03, "eigenvalues": 1, "max_products": 20, "trace_samples": 1}, "block_curvature": {"enabled": true, "every": 200, "blocks": 4, "tolerance": 0.05, "max_products": 10}, "smoothness": {"enabled": true, "every": 200, "rho": 0.05}, "representation": {"enabled": true, "every": 200, "samples": 128}, "condition": {"enabled": true, "every": 500, "max_elements": 524288}, "distance": {"enabled": true, "every": 50}, "statistics": {"enabled": true, "every": 10}, "modes": {"enabled": true, "every": 200}, "input_gradient": {"enabled": true, "every": 200}, "kernel": {"enabled": true, "every": 500, "samples": 16}}, "rules": {}, "validation": {"every": 50, "max_batches": null}, "checkpoints": {"every": 100, "keep": 3, "best": true}, "steps": 600, "seed": 0, "threads": null}, "parent": null, "parent_step": null, "attempt": 0, "revision": 1, "failure": null, "worker": null, "alerts": {}, "created_at": "2026-11-29T22:21:36.879358Z", "started_at": null, "ended_at": null, "updated_at": "2026-11-29T22:21:36.879358Z"}','2026-11-29 22:21:36.879358');
CREATE TABLE layout (
	run_id VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	document JSON NOT NULL, 
	CONSTRAINT pk_layout PRIMARY KEY (run_id, attempt, version), 
	CONSTRAINT fk_layout_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "layout" VALUES('53ac93b27ed539ff',1,1,'{"version": 1, "axes": {"parameter": ["0.weight", "0.bias", "2.weight"]}, "metrics": [{"name": "loss.train", "unit": "1", "axis": "run", "description": "Loss."}, {"name": "gradient.norm", "unit": "1", "axis": "parameter", "description": "Norm."}]}');
CREATE TABLE measurement (
	run_id VARCHAR(32) NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	settings JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	step BIGINT, 
	seconds DOUBLE, 
	samples BIGINT, 
	error TEXT, 
	result JSON, 
	asked_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	CONSTRAINT pk_measurement PRIMARY KEY (run_id, id), 
	CONSTRAINT fk_measurement_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "measurement" VALUES('53ac93b27ed539ff','7c19648ca2fa079f',1,'{"kind": "ntk", "samples": 32}','waiting',NULL,NULL,NULL,NULL,NULL,'2026-11-29 22:21:38.667357',NULL);
CREATE TABLE metric (
	id INTEGER NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	name VARCHAR(96) NOT NULL, 
	unit VARCHAR(32) NOT NULL, 
	axis VARCHAR(16) NOT NULL, 
	description TEXT NOT NULL, 
	count BIGINT NOT NULL, 
	first_step BIGINT, 
	last_step BIGINT, 
	latest BLOB, 
	latest_layout INTEGER, 
	latest_attempt INTEGER, 
	CONSTRAINT pk_metric PRIMARY KEY (id), 
	CONSTRAINT fk_metric_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "metric" VALUES(1,'53ac93b27ed539ff','loss.train','1','run','Loss.',24,1,24,X'0000C07F',1,1);
INSERT INTO "metric" VALUES(2,'53ac93b27ed539ff','gradient.norm','1','parameter','Norm.',12,2,24,X'000040415419C07F0000C0C1',1,1);
INSERT INTO "metric" VALUES(3,'53ac93b27ed539ff','progress.seconds','s','run','Wall time of the measurement, since the run was created; kept by the backend from each frame.',24,1,24,X'6C4BC6CB',1,1);
INSERT INTO "metric" VALUES(4,'53ac93b27ed539ff','progress.epoch','1','run','Passes over the training data so far, fractional; kept by the backend from each frame.',24,1,24,X'9A991940',1,1);
CREATE TABLE producer (
	run_id VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	last BIGINT NOT NULL, 
	missing JSON NOT NULL, 
	CONSTRAINT pk_producer PRIMARY KEY (run_id, attempt, name), 
	CONSTRAINT fk_producer_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "producer" VALUES('53ac93b27ed539ff',1,'trainer',6,'[]');
INSERT INTO "producer" VALUES('f75889bc1b1f456d',1,'trainer',1,'[]');
CREATE TABLE rule (
	kind VARCHAR(64) NOT NULL, 
	override JSON NOT NULL, 
	updated_at DATETIME NOT NULL, 
	CONSTRAINT pk_rule PRIMARY KEY (kind)
);
INSERT INTO "rule" VALUES('loss_spike','{"enabled": true, "severity": "info", "settings": {}}','2026-11-29 22:21:39.240241');
CREATE TABLE run (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	project VARCHAR(100) NOT NULL, 
	tags JSON NOT NULL, 
	notes TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	steps BIGINT, 
	spec JSON, 
	parent VARCHAR(32), 
	parent_step BIGINT, 
	attempt INTEGER NOT NULL, 
	wanted VARCHAR(16), 
	revision BIGINT NOT NULL, 
	failure JSON, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	started_at DATETIME, 
	ended_at DATETIME, 
	CONSTRAINT pk_run PRIMARY KEY (id), 
	CONSTRAINT fk_run_parent_run FOREIGN KEY(parent) REFERENCES run (id) ON DELETE SET NULL
);
INSERT INTO "run" VALUES('53ac93b27ed539ff','first, ünïcode "quoted"','old','["kept", "r\u00e4der"]','two
lines','running','training began at step 0',24,600,'{"task": {"kind": "classification", "dataset": {"kind": "digits"}}, "model": {"width": 128, "scaling": null, "kind": "mlp", "depth": 3, "activation": {"kind": "relu"}, "norm": null, "connection": null}, "init": {"kind": "he_normal", "mode": "fan_in", "gain": null}, "zero_last": null, "parametrization": null, "lipschitz": {"gradient_penalty": null, "weight_clip": null}, "regularization": {"dropout": null, "dropconnect": null, "stochastic_depth": null, "label_smoothing": null, "confidence_penalty": null, "distillation": null, "weight_decay": null}, "data": {"batch_size": 64, "validation_fraction": 0.2, "limit": null, "sequence_length": 64, "label_noise": 0.0, "augment": [], "mix": null, "curriculum": null}, "noise": {"input": null, "multiplicative": null, "gradient": null}, "linearized": null, "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": false, "weight_decay": 0.005}, "schedule": {"kind": "cosine", "final_factor": 0.0, "warmup": null}, "gradients": {"clip": null}, "loss": null, "accumulation": {"kind": "micro_batches", "steps": 1}, "precision": {"kind": "fp32"}, "distributed": null, "probes": {"budget": 0.2, "recorder": {"enabled": true, "steps": 64}, "gradients": {"enabled": true, "every": 5}, "direction": {"enabled": true, "every": 10}, "gradient_noise": {"enabled": true, "every": 200, "parts": 8, "memory": 0.9}, "weights": {"enabled": true, "every": 10}, "second_moment": {"enabled": true, "every": 5}, "activations": {"enabled": true, "every": 10, "window": 10, "saturation": 0.01}, "signals": {"enabled": true, "every": 10}, "branches": {"enabled": true, "every": 10}, "ranks": {"enabled": true, "every": 100, "samples": 128, "features": 128}, "attention": {"enabled": true, "every": 10, "sequences": 4}, "spectral": {"enabled": true, "every": 20, "tolerance": 0.001, "max_iterations": 50}, "curvature": {"enabled": true, "every": 50, "batch_size": null, "tolerance": 0.03, "eigenvalues": 1, "max_products": 20, "trace_samples": 1}, "block_curvature": {"enabled": true, "every": 200, "blocks": 4, "tolerance": 0.05, "max_products": 10}, "smoothness": {"enabled": true, "every": 200, "rho": 0.05}, "representation": {"enabled": true, "every": 200, "samples": 128}, "condition": {"enabled": true, "every": 500, "max_elements": 524288}, "distance": {"enabled": true, "every": 50}, "statistics": {"enabled": true, "every": 10}, "modes": {"enabled": true, "every": 200}, "input_gradient": {"enabled": true, "every": 200}, "kernel": {"enabled": true, "every": 500, "samples": 16}}, "rules": {}, "validation": {"every": 50, "max_batches": null}, "checkpoints": {"every": 100, "keep": 3, "best": true}, "steps": 600, "seed": 0, "threads": null}',NULL,NULL,1,NULL,13,NULL,'2026-11-29 22:21:36.879358','2026-11-29 22:21:38.667357','2026-11-29 22:21:37.591429',NULL);
INSERT INTO "run" VALUES('f75889bc1b1f456d','attached','default','[]','','running','attached from outside',0,NULL,NULL,NULL,NULL,1,NULL,3,NULL,'2026-11-29 22:21:38.808276','2026-11-29 22:21:38.827805','2026-11-29 22:21:38.808276',NULL);
CREATE TABLE sample (
	run_id VARCHAR(32) NOT NULL, 
	step BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	caption TEXT NOT NULL, 
	png BLOB NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_sample PRIMARY KEY (run_id, step), 
	CONSTRAINT fk_sample_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "sample" VALUES('f75889bc1b1f456d',20,1,6,4,'a ring',X'89504E470D0A1A0A0000000D4948445200000006000000040800000000886F119F0000000E4944415478DA63600703066C1400094C00A9A8549A770000000049454E44AE426082','2026-11-29 22:21:38.827805');
CREATE TABLE transition (
	id INTEGER NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	old VARCHAR(16), 
	new VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_transition PRIMARY KEY (id), 
	CONSTRAINT fk_transition_run_id_run FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "transition" VALUES(1,'53ac93b27ed539ff',NULL,'queued','asked for',0,'2026-11-29 22:21:36.879358');
INSERT INTO "transition" VALUES(2,'53ac93b27ed539ff','queued','starting','claimed by worker desk',1,'2026-11-29 22:21:37.312690');
INSERT INTO "transition" VALUES(3,'53ac93b27ed539ff','starting','running','training began at step 0',1,'2026-11-29 22:21:37.591429');
INSERT INTO "transition" VALUES(4,'f75889bc1b1f456d',NULL,'running','attached from outside',1,'2026-11-29 22:21:38.808276');
CREATE TABLE worker (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	host VARCHAR(256) NOT NULL, 
	pid INTEGER NOT NULL, 
	device VARCHAR(128) NOT NULL, 
	slots INTEGER NOT NULL, 
	datasets JSON NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	registered_at DATETIME NOT NULL, 
	heard_at DATETIME NOT NULL, 
	CONSTRAINT pk_worker PRIMARY KEY (id), 
	CONSTRAINT uq_worker_name UNIQUE (name)
);
INSERT INTO "worker" VALUES('45dfbb996ddd29df','desk','here',7,'cpu',1,'["digits"]','0.1.0','2026-11-29 22:21:36.650739','2026-11-29 22:21:37.312690');
CREATE INDEX ix_idempotency_key_at ON idempotency_key (at);
CREATE INDEX ix_run_created_at ON run (created_at);
CREATE INDEX ix_run_parent ON run (parent);
CREATE INDEX ix_run_project ON run (project);
CREATE INDEX ix_run_state ON run (state);
CREATE INDEX ix_alert_opened_at ON alert (opened_at);
CREATE INDEX ix_alert_run_id ON alert (run_id);
CREATE INDEX ix_alert_severity ON alert (severity);
CREATE INDEX ix_alert_state ON alert (state);
CREATE INDEX ix_attempt_lease_until ON attempt (lease_until);
CREATE INDEX ix_attempt_worker_id ON attempt (worker_id);
CREATE INDEX ix_command_run_id ON command (run_id);
CREATE INDEX ix_event_run_id ON event (run_id);
CREATE INDEX ix_metric_run_id ON metric (run_id);
CREATE UNIQUE INDEX uq_metric_run_id_name ON metric (run_id, name);
CREATE INDEX ix_transition_run_id ON transition (run_id);
CREATE INDEX ix_alert_change_alert_id ON alert_change (alert_id);
CREATE INDEX ix_block_place ON block (metric_id, level, attempt, first_step);
CREATE INDEX ix_block_unsealed ON block (metric_id, attempt, level, layout, rows, width) WHERE sealed IS 0;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('event',10);
INSERT INTO "sqlite_sequence" VALUES('command',2);
COMMIT;
