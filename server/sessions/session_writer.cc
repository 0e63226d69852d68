#include "server/sessions/session_writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"

namespace fmaserver::sessions {
namespace {

/// Those of `parts` that are not among `others`.
std::vector<PartPtr> Without(const std::vector<PartPtr>& parts,
                             const std::vector<PartPtr>& others) {
  std::set<std::string_view> ids;
  for (const PartPtr& other : others) ids.insert(other->id);
  std::vector<PartPtr> rest;
  std::ranges::copy_if(parts, std::back_inserter(rest),
                       [&ids](const PartPtr& part) { return !ids.contains(part->id); });
  return rest;
}

std::vector<PartPtr> PartsOf(const SavePlan& plan) {
  std::vector<PartPtr> parts;
  for (const PartToSave& part : plan.parts) parts.push_back(part.part);
  return parts;
}

}  // namespace

SavePlan SessionWriter::PlanFor(const Claim& source, SessionContents contents) const {
  SavePlan plan{.contents = std::move(contents),
                .source = source.name(),
                .expected = table_.HoldingOf(source).version};
  const std::vector<PartPtr> parts = sessions::PartsOf(plan.contents.points);
  std::vector<PartBytes> bytes = table_.BytesOf(source, parts);
  for (size_t i = 0; i < parts.size(); ++i) plan.parts.push_back({parts[i], std::move(bytes[i])});
  return plan;
}

absl::StatusOr<Holding> SessionWriter::Save(SavePlan plan) {
  const Clock::time_point start = Clock::now();
  absl::StatusOr<Saved> saved = shelf_->Save(plan);
  if (absl::IsAborted(saved.status())) return saved.status();
  Holding holding;
  if (saved.ok()) {
    holding.version = std::move(saved->version);
    holding.saved = PartsOf(plan);
    holding.durable = saved->synced.ok();
    if (!holding.durable) {
      holding.saved.insert(holding.saved.end(), plan.dropped.begin(), plan.dropped.end());
    }
  }
  Report(saved.ok() ? saved->synced : saved.status(), SecondsSince(start));
  holding.contents = std::move(plan.contents);
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
  SavePlan plan = PlanFor(claim, std::move(next));
  plan.targets = {claim.name()};
  plan.dropped = Without(before.saved, PartsOf(plan));
  absl::StatusOr<Holding> after = Save(std::move(plan));
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
    SavePlan plan = PlanFor(parent, std::move(holding.contents));
    for (const ChangeClaim& name : names) plan.targets.push_back(name.name());
    absl::StatusOr<Holding> saved = Save(std::move(plan));
    if (!saved.ok()) return saved.status();
    holding = *std::move(saved);
    if (!holding.durable) {
      // States that are not safe on the shelf must be in memory.
      const auto loaded = loader_.Load(parent, sessions::PartsOf(holding.contents.points));
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
