"""Why a run stopped. Its exit code follows from that (`books.report.exit_code`). Pure."""

from typing import Literal

Stop = Literal["ended", "interrupted", "lever", "outside-window", "slo", "signal-lost", "failed", "killed", "preflight"]
