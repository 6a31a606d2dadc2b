-- The shape of version 1, as it was released: never changed again.
CREATE TABLE meta ("name" TEXT NOT NULL, "value" INTEGER NOT NULL, PRIMARY KEY ("name")) WITHOUT ROWID;
CREATE TABLE spaces ("kind" TEXT NOT NULL, "id" TEXT NOT NULL, "grp" TEXT, "state" BLOB, "version" INTEGER NOT NULL, "epoch" INTEGER NOT NULL, "length" INTEGER NOT NULL, "next_entry" INTEGER NOT NULL, "last_event" INTEGER NOT NULL, "counters" BLOB, "flags" INTEGER NOT NULL, "note" BLOB, PRIMARY KEY ("kind", "id"));
CREATE TABLE mailbox ("kind" TEXT NOT NULL, "id" TEXT NOT NULL, "number" INTEGER NOT NULL, "message_id" TEXT, "body" BLOB NOT NULL, "at" REAL NOT NULL, "expires_at" REAL, "attempts" INTEGER NOT NULL, "recoveries" INTEGER NOT NULL, "asleep" INTEGER NOT NULL, PRIMARY KEY ("number"));
CREATE INDEX mailbox_by_kind_id_number ON mailbox ("kind", "id", "number");
CREATE INDEX mailbox_by_kind ON mailbox ("kind") WHERE asleep = 1;
CREATE TABLE history ("kind" TEXT NOT NULL, "id" TEXT NOT NULL, "position" INTEGER NOT NULL, "at" REAL NOT NULL, "value" BLOB NOT NULL, PRIMARY KEY ("kind", "id", "position")) WITHOUT ROWID;
CREATE TABLE events ("kind" TEXT NOT NULL, "id" TEXT NOT NULL, "position" INTEGER NOT NULL, "value" BLOB NOT NULL, PRIMARY KEY ("kind", "id", "position")) WITHOUT ROWID;
CREATE TABLE timers ("kind" TEXT NOT NULL, "id" TEXT NOT NULL, "key" TEXT NOT NULL, "due" REAL NOT NULL, "every" REAL, "body" BLOB NOT NULL, PRIMARY KEY ("kind", "id", "key")) WITHOUT ROWID;
CREATE INDEX timers_by_kind_due ON timers ("kind", "due");
CREATE TABLE known ("kind" TEXT NOT NULL, "id" TEXT NOT NULL, "message_id" TEXT NOT NULL, "at" REAL NOT NULL, "body" BLOB NOT NULL, PRIMARY KEY ("kind", "id", "message_id")) WITHOUT ROWID;
CREATE TABLE steps ("kind" TEXT NOT NULL, "id" TEXT NOT NULL, "number" INTEGER NOT NULL, "key" TEXT NOT NULL, "position" INTEGER NOT NULL, "body" BLOB NOT NULL, PRIMARY KEY ("kind", "id", "number", "key")) WITHOUT ROWID;
CREATE TABLE questions ("seq" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "question_id" TEXT NOT NULL, "kind" TEXT NOT NULL, "id" TEXT NOT NULL, "number" INTEGER NOT NULL, "name" TEXT NOT NULL, "expires_at" REAL, "body" BLOB NOT NULL);
CREATE UNIQUE INDEX questions_by_question_id ON questions ("question_id");
CREATE INDEX questions_by_kind_id_number ON questions ("kind", "id", "number");
CREATE INDEX questions_by_kind_expires_at ON questions ("kind", "expires_at") WHERE expires_at IS NOT NULL;
CREATE TABLE letters ("number" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "kind" TEXT NOT NULL, "id" TEXT NOT NULL, "message_id" TEXT NOT NULL, "attempts" INTEGER NOT NULL, "at" REAL NOT NULL, "body" BLOB NOT NULL, "error" BLOB NOT NULL);
CREATE INDEX letters_by_kind_id_number ON letters ("kind", "id", "number");
CREATE INDEX letters_by_message_id ON letters ("message_id");
