// The archive of one sequence of a model that opens units, in plain memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/model.h"

namespace fmaserver::testing {

class ModelArchive {
 public:
  explicit ModelArchive(engine::Model& model) : model_(model), layout_(model.archive_layout()) {}

  /// Makes `segment` open units, if its model does.
  void Give(engine::StepSegment& segment) {
    if (!layout_) return;
    segment.opens = true;
    segment.archive = Reach(segment.position + std::ssize(segment.tokens));
  }

  /// Makes the groups of `tokens` tokens of another archive what they are in this one.
  void CopyTo(ModelArchive& other, int64_t tokens) {
    Reach(tokens);
    other.Reach(tokens);
    std::vector<std::byte> sketches(layout_.SketchBytes());
    for (int64_t i = 0; i < layout_.Groups(tokens); ++i) {
      EXPECT_TRUE(model_.backend().SaveSketches(*groups_[i], sketches).ok());
      EXPECT_TRUE(other.model_.backend().RestoreSketches(sketches, *other.groups_[i]).ok());
      std::ranges::copy(tokens_[i], other.tokens_[i].begin());
    }
  }

 private:
  std::span<kernels::ArchiveGroup* const> Reach(int64_t tokens) {
    while (std::ssize(groups_) < layout_.Groups(tokens)) {
      tokens_.emplace_back(layout_.TokenBytes());
      auto group = model_.backend().MakeGroup(layout_, tokens_.back());
      EXPECT_TRUE(group.ok()) << group.status();
      groups_.push_back(group->get());
      owned_.push_back(*std::move(group));
    }
    return std::span(groups_).first(layout_.Groups(tokens));
  }

  engine::Model& model_;
  kernels::ArchiveLayout layout_;
  std::vector<std::vector<std::byte>> tokens_;
  std::vector<std::unique_ptr<kernels::ArchiveGroup>> owned_;
  std::vector<kernels::ArchiveGroup*> groups_;
};

}  // namespace fmaserver::testing
