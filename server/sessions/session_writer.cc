#include "server/sessions/session_writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "server/sessions/session_name.h"

namespace fmaserver::sessions {
namespace {

/// Those of `items` that are not among `others`; both are sorted.
std::vector<ShelfItem> Without(const std::vector<ShelfItem>& items,
                               const std::vector<ShelfItem>& others) {
  std::vector<ShelfItem> rest;
  std::ranges::set_difference(items, others, std::back_inserter(rest));
  return rest;
}

/// The chunks behind the last one that the shelf has.
std::span<const PartPtr> NotSaved(const ChunkList& chunks, const std::vector<ShelfItem>& saved) {
  const auto is_saved = [&saved](const PartPtr& chunk) {
    return std::ranges::binary_search(saved, ShelfItem{.kind = chunk->kind, .id = chunk->id});
  };
  int64_t count = std::ssize(*chunks);
  while (count > 0 && !is_saved((*chunks)[count - 1])) --count;
  return std::span(*chunks).subspan(static_cast<size_t>(count));
}

/// Drops rewind points of the plan's contents whose states are `lost`, and not in memory either.
void ForgetPoints(const std::vector<ShelfItem>& lost, SavePlan& plan) {
  std::vector<Point>& points = plan.contents.points;
  std::vector<Point> left;
  for (size_t i = 0; i < points.size(); ++i) {
    const ShelfItem item{.kind = Part::Kind::kSlot, .id = points[i].slot->id};
    const bool is_head = i + 1 == points.size();
    if (is_head || plan.slots[i].bytes || !std::ranges::binary_search(lost, item)) {
      left.push_back(std::move(points[i]));
    }
  }
  points = std::move(left);
}

}  // namespace

SavePlan SessionWriter::PlanFor(const Claim& source, SessionContents contents,
                                const std::vector<ShelfItem>& there) const {
  SavePlan plan{.contents = std::move(contents),
                .source = source.name(),
                .expected = table_.HoldingOf(source).version};
  const auto with_bytes = [&](const std::vector<PartPtr>& parts) {
    std::vector<PartBytes> bytes = table_.BytesOf(source, parts);
    std::vector<PartToSave> to_save;
    for (size_t i = 0; i < parts.size(); ++i) to_save.push_back({parts[i], std::move(bytes[i])});
    return to_save;
  };
  std::vector<PartPtr> slots;
  for (const Point& point : plan.contents.points) slots.push_back(point.slot);
  plan.slots = with_bytes(slots);
  const std::span<const PartPtr> chunks = NotSaved(plan.contents.chunks, there);
  plan.chunks = with_bytes({chunks.begin(), chunks.end()});
  return plan;
}

absl::StatusOr<Saved> SessionWriter::SaveAll(const Claim& source, SavePlan& plan) {
  std::vector<ShelfItem> there = table_.HoldingOf(source).saved;
  for (;;) {
    absl::StatusOr<Saved> saved = shelf_->Save(plan);
    if (!saved.ok() || saved->lost.empty()) return saved;
    // What is in memory of it is written again.
    std::vector<ShelfItem> left = Without(there, saved->lost);
    if (left.size() == there.size()) {
      return absl::UnavailableError(Concat(Describe(source.name()), ": the shelf has lost ",
                                           saved->lost.size(), " of its states and archives"));
    }
    there = std::move(left);
    ForgetPoints(saved->lost, plan);
    SavePlan next = PlanFor(source, std::move(plan.contents), there);
    next.targets = std::move(plan.targets);
    next.dropped = std::move(plan.dropped);
    plan = std::move(next);
  }
}

absl::StatusOr<Holding> SessionWriter::Save(const Claim& source, SavePlan plan) {
  const Clock::time_point start = Clock::now();
  absl::StatusOr<Saved> saved = SaveAll(source, plan);
  if (absl::IsAborted(saved.status())) return saved.status();
  Holding holding{.contents = std::move(plan.contents)};
  if (saved.ok()) {
    holding.version = std::move(saved->version);
    holding.durable = saved->synced.ok();
    holding.contents.chunks = std::move(saved->chunks);
    holding.contents.volume = std::move(saved->volume);
    holding.saved = ItemsOf(holding.contents);
    if (!holding.durable) {
      std::ranges::copy(plan.dropped, std::back_inserter(holding.saved));
      std::ranges::sort(holding.saved);
    }
  }
  Report(saved.ok() ? saved->synced : saved.status(), SecondsSince(start));
  return holding;
}

void SessionWriter::Report(const absl::Status& status, double seconds) {
  if (status.ok()) {
    observer_.OnSave(seconds);
    if (fails_.exchange(false)) spdlog::info("sessions are saved again");
    return;
  }
  observer_.OnSaveFailed();
  // Logged once, not for each session that a full disk concerns.
  if (!fails_.exchange(true)) {
    spdlog::error("sessions go on in memory only: {}", std::string(status.message()));
  }
}

absl::Status SessionWriter::Replace(const ChangeClaim& claim, SessionContents next) {
  if (shelf_ == nullptr) {
    table_.Set(claim, {.contents = std::move(next)});
    return absl::OkStatus();
  }
  Holding before = table_.HoldingOf(claim);
  SavePlan plan = PlanFor(claim, std::move(next), before.saved);
  plan.targets = {claim.name()};
  plan.dropped = Without(before.saved, ItemsOf(plan.contents));
  absl::StatusOr<Holding> after = Save(claim, std::move(plan));
  if (!after.ok()) return after.status();
  if (after->version == Version()) {  // the shelf has what it had
    after->version = std::move(before.version);
    after->saved = std::move(before.saved);
  }
  table_.Set(claim, *std::move(after));
  return absl::OkStatus();
}

absl::Status SessionWriter::Add(const std::vector<ChangeClaim>& names, SessionContents contents,
                                const Claim& parent) {
  Holding holding{.contents = std::move(contents)};
  if (shelf_ != nullptr) {
    SavePlan plan = PlanFor(parent, std::move(holding.contents), table_.HoldingOf(parent).saved);
    for (const ChangeClaim& name : names) plan.targets.push_back(name.name());
    absl::StatusOr<Holding> saved = Save(parent, std::move(plan));
    if (!saved.ok()) return saved.status();
    holding = *std::move(saved);
    if (!holding.durable) {
      // States that are not safe on the shelf must be in memory.
      const auto loaded = loader_.Load(parent, PartsOf(holding.contents));
      if (!loaded.ok()) return loaded.status();
    }
  }
  for (const ChangeClaim& name : names) table_.Set(name, holding);
  return absl::OkStatus();
}

absl::Status SessionWriter::Remove(const ChangeClaim& claim) {
  if (shelf_ != nullptr) {
    const Holding holding = table_.HoldingOf(claim);
    absl::Status status = shelf_->Remove(claim.name(), holding.version, holding.saved);
    if (!status.ok()) return status;
  }
  table_.Erase(claim);
  return absl::OkStatus();
}

}  // namespace fmaserver::sessions
