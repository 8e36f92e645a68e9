"""[[prices]] and whoever names them -> price tables, checked against trunks, routes and budgets.

A file of prices is read with the dialplan that names it, and a fault in it is one of the dialplan: file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.dialplan import prices
from gateway.dialplan.booking import Period
from gateway.dialplan.files import Include, shown
from gateway.dialplan.prices import PriceTable
from gateway.dialplan.schema import RouteSection, TrunkSection, UserSection
from gateway.dialplan.schema_money import AllowanceSection, BudgetSection, PricesSection
from gateway.dialplan.tables import Table, Tables
from gateway.dialplan.toml import Place
from gateway.errors import Fault

MAX_FILE = 16 * 1024 * 1024  # bytes


@dataclass(slots=True)
class Pricing:
    """Reads price tables from files in `folders`, which are by the names of the files that name them."""

    tables: Tables
    folders: Mapping[str, Path]
    base: Path | None = None
    includes: list[Include] = field(default_factory=list)  # the files of prices, as files.Reader has others

    def read(self) -> dict[str, PriceTable]:
        """All tables by their names; what trunks, routes and budgets say of them is checked too."""
        found = {
            section.name: built
            for table, section in self.tables.sections("prices", PricesSection)
            if (built := self._table(table, section))
        }
        charging = list(self._charging())
        for table, name in charging:
            self.tables.named(table, "prices", name)
        self._one_currency([found[name] for _, name in charging if name in found], charged_at_all=bool(charging))
        for table, route in self.tables.sections("route", RouteSection):
            self._route(table, route, found)
        if charging and any(self._spending()):
            self._uncounted()
        return found

    def _table(self, table: Table, section: PricesSection) -> PriceTable | None:
        folder = self.folders[table.document.file]
        self.includes.append((str(folder), section.file))
        path = folder / section.file
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE + 1)
            text = raw.decode()
        except OSError as error:
            self.tables.fault(table, ("file",), f"file: {section.file} cannot be read: {error.strerror or error}")
            return None
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            self.tables.faults.append(Fault(shown(path, self.base), line, "not UTF-8"))
            return None
        if len(raw) > MAX_FILE:
            self.tables.fault(table, ("file",), f"file: {section.file} is larger than {MAX_FILE} bytes")
            return None
        built, faults = prices.read(
            text, name=section.name, currency=section.currency, first=section.first, step=section.step,
            free=section.unpriced == "free",
        )  # fmt: skip
        self.tables.faults.extend(Fault(shown(path, self.base), line, message) for line, message in faults)
        return built

    def _charging(self) -> Iterator[tuple[Table, str]]:
        """Who names prices, and which."""
        for table, trunk in self.tables.sections("trunk", TrunkSection):
            if trunk.prices is not None:
                yield table, trunk.prices
        for table, route in self.tables.sections("route", RouteSection):
            if route.prices is not None:
                yield table, route.prices

    def _route(self, table: Table, section: RouteSection, found: Mapping[str, PriceTable]) -> None:
        trunks = [trunk for via in section.via if (trunk := self._trunk(via))]
        if section.prices is not None and section.via and not trunks:
            self.tables.fault(table, ("prices",), "prices are for trunks, and none is asked")
        if section.order != "cheapest":
            return
        if section.weights:
            self.tables.fault(table, ("order",), "the order is drawn by weights, or by prices")
        if len(section.via) == 1:
            self.tables.fault(table, ("order",), "order is for several vias, and there is one")
        for trunk in trunks:
            if trunk.prices is None:
                self.tables.fault(table, ("order",), f"trunk {trunk.name!r} has no prices to be compared")
        currencies = sorted({each.currency for trunk in trunks if (each := found.get(trunk.prices or ""))})
        if len(currencies) > 1:
            message = f"prices in {' and '.join(currencies)} cannot be compared"
            self.tables.fault(table, ("order",), message)

    def _uncounted(self) -> None:
        """Trunks whose calls cost nothing as far as budgets of money know."""
        asked = {
            via for _, route in self.tables.sections("route", RouteSection) for via in route.via if route.prices is None
        }
        for table, trunk in self.tables.sections("trunk", TrunkSection):
            if trunk.prices is None and trunk.name in asked:
                message = f"no prices: budgets of money do not see what calls by {trunk.name!r} cost"
                self.tables.fault(table, (), message, warning=True)

    def _trunk(self, name: str) -> TrunkSection | None:
        sections = (section for _, section in self.tables.sections("trunk", TrunkSection))
        return next((section for section in sections if section.name == name), None)

    def _one_currency(self, charged: list[PriceTable], *, charged_at_all: bool) -> None:
        """Budgets of money add up what calls cost, and nobody knows here what one currency is worth in another."""
        spending = list(self._spending())
        known = [each.currency for each in charged] + [currency for _, _, currency in spending]
        for table, place, currency in spending:
            if not charged_at_all:
                self.tables.fault(table, place, "nothing has a price: no trunk and no route names any")
            elif currency != known[0]:
                self.tables.fault(table, place, f"a budget in {currency}, and calls cost {known[0]}")
        if not spending:
            return
        for table, section in self.tables.sections("prices", PricesSection):
            if section.currency != known[0] and any(section.name == each.name for each in charged):
                message = f"prices in {section.currency}, and other calls cost {known[0]}: budgets cannot add them up"
                self.tables.fault(table, ("currency",), message)

    def _spending(self) -> Iterator[tuple[Table, Place, str]]:
        """Budgets of money: where they stand, and their currencies."""
        for table, budget in self.tables.sections("budget", BudgetSection):
            yield from _money(table, budget, ())
        for table, user in self.tables.sections("users", UserSection):
            if user.budget:
                yield from _money(table, user.budget, ("budget",))


def _money(table: Table, section: AllowanceSection, place: Place) -> Iterator[tuple[Table, Place, str]]:
    for period in Period:
        if (amount := getattr(section, key := f"spend_per_{period}")) is not None:
            yield table, (*place, key), amount.currency
