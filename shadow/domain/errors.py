"""Every error the harness raises on purpose.

    ShadowError
    ├── ConfigurationError          a trial, site or deployment file cannot be accepted: file, field, remedy
    ├── SetupError                  this machine cannot run the harness as asked: what, and what to do
    ├── StoreError
    │   ├── LedgerConflict          the key is in the ledger with other content; the first content stands
    │   ├── LedgerBroken            the hash chain does not verify
    │   ├── MigrationEdited         a migration file changed after it was applied
    │   ├── VaultLocked             the key file is missing, readable by others, or not the vault's
    │   └── LaneBusy                another process holds this lane of work; try again later
    ├── LinkageRefused              a person's correction of linkage names keys that are not there, or no reason
    ├── ArchiveUnavailable          a router or PACS does not answer a question; ask again later
    ├── LabellerFailed              the second labeller gave no state for one report; it is counted and passed
    ├── NotEvaluable                one study has no result, for a counted reason; it stays in the denominator
    ├── UnreadableInstance          one DICOM file cannot be read; its neighbours go on
    ├── ModelContractError          the model's files do not keep what model.toml promises
    └── MalformedMessage            one HL7 message cannot become a report version; it is quarantined

`NotEvaluable`, `UnreadableInstance` and `MalformedMessage` describe one study, instance or message and end
in a counted state. All others stop the process that met them. None carries an identifier or report text.
"""


class ShadowError(Exception):
    """Base of every error the harness raises on purpose."""


class ConfigurationError(ShadowError):
    """A configuration file cannot be accepted."""

    def __init__(self, file: str, field: str, remedy: str) -> None:
        super().__init__(f"{file}: {field}: {remedy}")
        self.file = file
        self.field = field
        self.remedy = remedy


class SetupError(ShadowError):
    """This machine cannot run the harness as asked."""


class StoreError(ShadowError):
    """The ledger, lake, vault or blob store refused."""


class LedgerConflict(StoreError):
    """The key is already in the ledger with other content."""


class LedgerBroken(StoreError):
    """The hash chain of the ledger does not verify."""


class MigrationEdited(StoreError):
    """A migration file was edited after it had been applied."""


class VaultLocked(StoreError):
    """The vault cannot be opened with the key file given."""


class LaneBusy(StoreError):
    """Another process holds this lane of work."""


class LinkageRefused(ShadowError):
    """A person's correction of linkage cannot be taken."""


class ArchiveUnavailable(ShadowError):
    """A router or PACS that was asked what it has does not answer, or refuses."""


class LabellerFailed(ShadowError):
    """The second labeller gave no state for one report."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotEvaluable(ShadowError):
    """A study that the model cannot be run on; the reason is a stable code that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class UnreadableInstance(ShadowError):
    """A DICOM instance that cannot be read; the reason is a stable code that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ModelContractError(ShadowError):
    """The model's files do not keep what its contract promises."""


class MalformedMessage(ShadowError):
    """An HL7 message that cannot become a report version; the reason is a stable code that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
