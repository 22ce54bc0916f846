"""Statements of one brand and the same in the words of the other; tests/integration/test_dialect.py runs them."""

from __future__ import annotations

TO_MARIADB = [
    # collations
    (
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_ai_ci)",
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_uca1400_nopad_ai_ci)",
    ),
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_bin)", "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_nopad_bin)"),
    (
        "CREATE TABLE t (a CHAR(9)) COLLATE='utf8mb4_0900_as_cs'",
        "CREATE TABLE t (a CHAR(9)) COLLATE=utf8mb4_uca1400_nopad_as_cs",
    ),
    (
        "ALTER TABLE t ADD c CHAR(9) COLLATE utf8mb4_es_trad_0900_ai_ci",
        "ALTER TABLE t ADD c CHAR(9) COLLATE utf8mb4_uca1400_spanish2_nopad_ai_ci",
    ),
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_unicode_ci)", "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_unicode_ci)"),
    # a character set alone
    (
        "CREATE TABLE t (a CHAR(9) CHARACTER SET utf8mb4 NOT NULL) DEFAULT CHARSET=utf8mb4 ENGINE=InnoDB",
        "CREATE TABLE t (a CHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci NOT NULL)"
        " DEFAULT CHARSET=utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci ENGINE=InnoDB",
    ),
    (
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci",
    ),
    (
        "CREATE TABLE t (a CHAR(9) CHARSET utf8mb4 NOT NULL COLLATE utf8mb4_bin,"
        " b CHAR(9) BINARY CHARSET utf8mb4) CHARSET latin1",
        "CREATE TABLE t (a CHAR(9) CHARSET utf8mb4 NOT NULL COLLATE utf8mb4_bin,"
        " b CHAR(9) BINARY CHARSET utf8mb4) CHARSET latin1",
    ),
    (
        "CREATE TABLE t (b INT, a CHAR(9) AS (CAST(b AS CHAR CHARACTER SET utf8mb4)))",
        "CREATE TABLE t (b INT, a CHAR(9) AS (CAST(b AS CHAR CHARACTER SET utf8mb4)))",
    ),
    # version comments
    (
        "CREATE TABLE t (a INT, b INT /*!80023 INVISIBLE */, KEY k (a) /*!80000 INVISIBLE */)",
        "CREATE TABLE t (a INT, b INT  INVISIBLE , KEY k (a)  IGNORED )",
    ),
    (
        "CREATE TABLE t (a INT) /*!50100 PARTITION BY HASH (a) */ /*M! COMMENT='x' */",
        "CREATE TABLE t (a INT) /*!50100 PARTITION BY HASH (a) */ /* COMMENT='x' */",
    ),
    # strings with a character set introducer in expressions
    (
        r"CREATE TABLE t (a CHAR(9), b CHAR(9) AS (concat(a, _utf8mb4'\\.', _utf8mb3 /* x */ 'it''s' 'é', N'\\')))",
        r"CREATE TABLE t (a CHAR(9), b CHAR(9) AS (concat(a, '\\.', 'it''s' 'é', N'\\')))",
    ),
    (
        r"CREATE TABLE t (a CHAR(9), b CHAR(9) CHARACTER SET ucs2, CHECK (a <> _latin1'\\é' and"
        r" a <> _latin1 'plain %' or b = _ucs2'a'))",
        "CREATE TABLE t (a CHAR(9), b CHAR(9) CHARACTER SET ucs2, CHECK (a <> CONVERT(x'5cc3a9' USING latin1) and"
        " a <> _latin1 'plain %' or b = CONVERT(x'61' USING ucs2)))",
    ),
    (
        r"ALTER TABLE t ADD c BLOB DEFAULT"
        r" (concat(_binary'\0\'' 'x', _BINARY 0xe90, _latin1 b'101000001', _utf8mb4 x''))",
        "ALTER TABLE t ADD c BLOB DEFAULT (concat(CAST(x'002778' AS BINARY), CAST(x'0e90' AS BINARY),"
        " CONVERT(x'0141' USING latin1), ''))",
    ),
    (
        r"CREATE TABLE t (a CHAR(9) DEFAULT _latin1'\\', `_latin1` CHAR(9) COMMENT '_latin1\'')",
        r"CREATE TABLE t (a CHAR(9) DEFAULT _latin1'\\', `_latin1` CHAR(9) COMMENT '_latin1\'')",
    ),
    # columns
    ("CREATE TABLE t (a INT VISIBLE, b INT INVISIBLE)", "CREATE TABLE t (a INT, b INT INVISIBLE)"),
    ("CREATE TABLE t (a INT COLUMN_FORMAT FIXED STORAGE DISK NOT NULL)", "CREATE TABLE t (a INT NOT NULL)"),
    ("CREATE TABLE t (p POINT NOT NULL SRID 4326)", "CREATE TABLE t (p POINT REF_SYSTEM_ID=4326 NOT NULL)"),
    (
        "CREATE TABLE t (p POINT NOT NULL /*!80003 SRID 4326 */)",
        "CREATE TABLE t (p POINT REF_SYSTEM_ID=4326 NOT NULL )",
    ),
    ("CREATE TABLE t (g GEOMCOLLECTION)", "CREATE TABLE t (g GEOMETRYCOLLECTION)"),
    (
        "CREATE TABLE t (a INT CHECK (a > 0) ENFORCED, CONSTRAINT c CHECK (a < 9) ENFORCED)",
        "CREATE TABLE t (a INT CHECK (a > 0), CONSTRAINT c CHECK (a < 9))",
    ),
    (
        "CREATE TABLE t (a INT, b INT AS (a + 1) STORED NOT NULL UNIQUE, c INT AS (a) NULL)",
        "CREATE TABLE t (a INT, b INT AS (a + 1) STORED  UNIQUE, c INT AS (a) )",
    ),
    (
        "ALTER TABLE t ADD c INT AS (b->'$.x'), ADD d CHAR(9) AS (t.`b`->>'$.y')",
        "ALTER TABLE t ADD c INT AS (JSON_EXTRACT(b, '$.x')),"
        " ADD d CHAR(9) AS (JSON_UNQUOTE(JSON_EXTRACT(t.`b`, '$.y')))",
    ),
    # keys and options
    (
        "CREATE TABLE t (a INT, KEY k (a) VISIBLE, UNIQUE l (a) COMMENT 'x' INVISIBLE)",
        "CREATE TABLE t (a INT, KEY k (a) NOT IGNORED, UNIQUE l (a) COMMENT 'x' IGNORED)",
    ),
    (
        "CREATE TABLE t (a INT) ENCRYPTION='N', COMMENT='x', AUTOEXTEND_SIZE=4M, ENGINE=InnoDB",
        "CREATE TABLE t (a INT) COMMENT='x' ENGINE=InnoDB",
    ),
    (
        "CREATE TABLE t (a INT) TABLESPACE=s ENCRYPTION='Y' COMPRESSION='zlib' SECONDARY_ENGINE=RAPID",
        "CREATE TABLE t (a INT) ENCRYPTED=YES",
    ),
    # ALTER TABLE
    ("ALTER TABLE t ADD c INT, ALGORITHM=INSTANT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE t ALGORITHM=INPLACE, LOCK=NONE, ADD c INT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE t ADD c INT, ALGORITHM=INPLACE, ADD d INT, LOCK=NONE", "ALTER TABLE t ADD c INT, ADD d INT"),
    (
        "ALTER TABLE t ALTER INDEX k INVISIBLE, ALTER INDEX l VISIBLE",
        "ALTER TABLE t ALTER INDEX k IGNORED, ALTER INDEX l NOT IGNORED",
    ),
    ("ALTER TABLE t DROP CHECK c, ADD c INT", "ALTER TABLE t DROP CONSTRAINT c, ADD c INT"),
    ("ALTER TABLE t ALTER COLUMN b SET VISIBLE", "ALTER TABLE t "),
    (
        "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u WITHOUT VALIDATION",
        "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u",
    ),
    ("ALTER TABLE t SECONDARY_LOAD", "ALTER TABLE t "),
    (
        "CREATE TABLE t (a INT ENGINE_ATTRIBUTE='{}',"
        " KEY k (a) SECONDARY_ENGINE_ATTRIBUTE='{}') ENGINE_ATTRIBUTE '' STORAGE DISK ENGINE=NDB",
        "CREATE TABLE t (a INT, KEY k (a))",
    ),
    # names that look like keywords, and keywords that are names
    (
        "ALTER TABLE t ADD c INT AFTER visible, ADD encryption INT, ADD KEY (visible)",
        "ALTER TABLE t ADD c INT AFTER visible, ADD encryption INT, ADD KEY (visible)",
    ),
    (
        "CREATE TABLE t (a INT, b VARCHAR(20) DEFAULT 'INVISIBLE' COMMENT 'SRID 4326 a->b')",
        "CREATE TABLE t (a INT, b VARCHAR(20) DEFAULT 'INVISIBLE' COMMENT 'SRID 4326 a->b')",
    ),
    # databases
    ("CREATE DATABASE d", "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci"),
    (
        "CREATE DATABASE IF NOT EXISTS d /* x */ ENCRYPTION='N'",
        "CREATE DATABASE IF NOT EXISTS d CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci /* x */ ",
    ),
    (
        "CREATE DATABASE d CHARACTER SET utf8mb4",
        "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci",
    ),
    ("CREATE DATABASE d CHARACTER SET latin1", "CREATE DATABASE d CHARACTER SET latin1"),
    ("CREATE DATABASE d COLLATE utf8mb4_unicode_ci", "CREATE DATABASE d COLLATE utf8mb4_unicode_ci"),
    (
        "ALTER DATABASE CHARACTER SET utf8mb4",
        "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci",
    ),
]

TO_MYSQL = [
    (
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_uca1400_nopad_as_ci, b CHAR(9) COLLATE uca1400_ai_ci)",
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_as_ci, b CHAR(9) COLLATE utf8mb4_0900_ai_ci)",
    ),
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_nopad_bin)", "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_bin)"),
    (
        "CREATE TABLE t (a CHAR(9)) CHARSET=utf8mb4",
        "CREATE TABLE t (a CHAR(9)) CHARSET=utf8mb4 COLLATE utf8mb4_general_ci",
    ),
    # JSON as SHOW CREATE TABLE prints it
    (
        "CREATE TABLE t (`j` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT '{}' CHECK (json_valid(`j`)),"
        " `k` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL CHECK (json_valid(`k`)) COMMENT 'x')",
        "CREATE TABLE t (`j` JSON DEFAULT ('{}'), `k` JSON NOT NULL COMMENT 'x')",
    ),
    (
        "CREATE TABLE t (j longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin CHECK (json_valid(j) or 1), k longtext"
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin CHECK (json_valid(j)), l longtext CHARACTER SET latin1"
        " COLLATE latin1_bin CHECK (json_valid(l)))",
        "CREATE TABLE t (j longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin CHECK (json_valid(j) or 1), k longtext"
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin CHECK (json_valid(j)), l longtext CHARACTER SET latin1"
        " COLLATE latin1_bin CHECK (json_valid(l)))",
    ),
    ("CREATE DATABASE d", "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"),
    ("CREATE DATABASE d COMMENT 'x'", "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"),
    (
        "CREATE TABLE t (a INT /*M!100100 COMMENT 'x' */, b INT /*!80023 INVISIBLE */, c INT /*!100301 INVISIBLE */)",
        "CREATE TABLE t (a INT  COMMENT 'x' , b INT /* INVISIBLE */, c INT  INVISIBLE )",
    ),
    ("CREATE OR REPLACE TABLE t (a INT)", "CREATE TABLE t (a INT)"),
    ("ALTER ONLINE TABLE t WAIT 5 ADD c INT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE IF EXISTS t NOWAIT ADD c INT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE t DROP COLUMN IF EXISTS x, ADD c INT", "ALTER TABLE t ADD c INT"),
    (
        "ALTER TABLE t DROP IF EXISTS b, ADD COLUMN IF NOT EXISTS a INT,"
        " ADD IF NOT EXISTS c INT, MODIFY IF EXISTS a BIGINT",
        "ALTER TABLE t DROP  b, ADD  c INT, MODIFY  a BIGINT",
    ),
    ("ALTER TABLE t ADD c INT, ALGORITHM=NOCOPY", "ALTER TABLE t ADD c INT"),
    ("CREATE TABLE t (a INT, b INT AS (a + 1) PERSISTENT)", "CREATE TABLE t (a INT, b INT AS (a + 1) STORED)"),
    (
        "CREATE TABLE t (a VARCHAR(9) COMPRESSED, b TEXT COMPRESSED=zlib NOT NULL)",
        "CREATE TABLE t (a VARCHAR(9), b TEXT NOT NULL)",
    ),
    ("CREATE TABLE t (p POINT REF_SYSTEM_ID=4326 NOT NULL)", "CREATE TABLE t (p POINT SRID 4326 NOT NULL)"),
    (
        "CREATE TABLE t (a VARCHAR(40) DEFAULT uuid(), b DATE DEFAULT curdate(),"
        " c DATETIME DEFAULT current_timestamp())",
        "CREATE TABLE t (a VARCHAR(40) DEFAULT (uuid()), b DATE DEFAULT (curdate()),"
        " c DATETIME DEFAULT current_timestamp())",
    ),
    (
        "CREATE TABLE t (a TEXT DEFAULT 'x' NOT NULL, b JSON DEFAULT '{}',"
        " c BLOB DEFAULT NULL, d CHAR(9) DEFAULT 'x', e INT DEFAULT 5)",
        "CREATE TABLE t (a TEXT DEFAULT ('x') NOT NULL, b JSON DEFAULT ('{}'),"
        " c BLOB DEFAULT NULL, d CHAR(9) DEFAULT 'x', e INT DEFAULT 5)",
    ),
    (
        "CREATE TABLE t (a INT, KEY k (a) IGNORED, KEY l (a) NOT IGNORED)",
        "CREATE TABLE t (a INT, KEY k (a) INVISIBLE, KEY l (a) VISIBLE)",
    ),
    ("ALTER ONLINE TABLE IF EXISTS t ADD c INT", "ALTER TABLE t ADD c INT"),
    ("RENAME TABLE IF EXISTS t TO u", "RENAME TABLE t TO u"),
    (
        "CREATE TABLE t (a INT, KEY k (a) CLUSTERING=YES) ENGINE=TokuDB ROW_FORMAT=PAGE IETF_QUOTES=1",
        "CREATE TABLE t (a INT, KEY k (a))",
    ),
    (
        "ALTER TABLE t ALTER INDEX k IGNORED, ALTER KEY l NOT IGNORED",
        "ALTER TABLE t ALTER INDEX k INVISIBLE, ALTER INDEX l VISIBLE",
    ),
    (
        "CREATE TABLE t (a INT) ENGINE=Aria PAGE_CHECKSUM=1 TRANSACTIONAL=0 COMMENT='x'",
        "CREATE TABLE t (a INT) COMMENT='x'",
    ),
    (
        "CREATE TABLE t (a INT) ENGINE=InnoDB, `encrypted`='yes', `page_compressed`='1'",
        "CREATE TABLE t (a INT) ENGINE=InnoDB ENCRYPTION='Y'",
    ),
]
