// The archive of one sequence of a model that opens units, in plain memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/plain_archive.h"
#include "server/engine/model.h"

namespace fmaserver::testing {

class ModelArchive {
 public:
  explicit ModelArchive(engine::Model& model)
      : model_(model), archive_(model.backend(), model.archive_layout()) {}

  /// Makes `segment` open units, if its model does.
  void Give(engine::StepSegment& segment) {
    if (!archive_.layout()) return;
    segment.opens = true;
    segment.archive = Reach(segment.position + std::ssize(segment.tokens));
  }

  /// Makes the groups of `tokens` tokens of another archive what they are in this one.
  void CopyTo(ModelArchive& other, int64_t tokens) {
    const auto from = Reach(tokens);
    const auto to = other.Reach(tokens);
    std::vector<std::byte> sketches(archive_.layout().SketchBytes());
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_TRUE(model_.backend().SaveSketches(*from[i], sketches).ok());
      EXPECT_TRUE(other.model_.backend().RestoreSketches(sketches, *to[i]).ok());
      std::copy_n(from[i]->tokens, archive_.layout().TokenBytes(), to[i]->tokens);
    }
  }

 private:
  std::span<kernels::ArchiveGroup* const> Reach(int64_t tokens) {
    const auto groups = archive_.Reach(tokens);
    EXPECT_TRUE(groups.ok()) << groups.status();
    return *groups;
  }

  engine::Model& model_;
  kernels::PlainArchive archive_;
};

}  // namespace fmaserver::testing
