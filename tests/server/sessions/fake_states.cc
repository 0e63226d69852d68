#include "tests/server/sessions/fake_states.h"

#include <algorithm>
#include <set>
#include <utility>

#include "gtest/gtest.h"
#include "server/sessions/session_codec.h"
#include "server/sessions/shelf/directory/files.h"
#include "tests/server/sessions/fake_archives.h"

namespace fmaserver::testing {
namespace {

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9E3779B97F4A7C15;
  hash *= 0xBF58476D1CE4E5B9;
  return hash ^ hash >> 29;
}

// A function of the first `tokens` tokens of the text.
std::vector<std::byte> BytesAfter(const Text& text, int64_t tokens, int64_t size) {
  uint64_t hash = 1;
  for (int64_t i = 0; i < tokens; ++i) hash = Mix(hash, static_cast<uint64_t>(text[i]));
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) {
    hash = Mix(hash, 7);
    byte = static_cast<std::byte>(hash >> 32);
  }
  return bytes;
}

engine::SnapshotPtr SnapshotAfter(const Text& text, int64_t tokens, int64_t size,
                                  kernels::CacheType type = kernels::CacheType::kF32) {
  auto snapshot = std::make_shared<engine::Snapshot>(tokens, size, type);
  std::ranges::copy(BytesAfter(text, tokens, size), snapshot->mutable_bytes().begin());
  return snapshot;
}

bool IsSnapshotAfter(const engine::Snapshot& snapshot, const Text& text, int64_t size) {
  return snapshot.tokens() <= std::ssize(text) &&
         std::ranges::equal(snapshot.bytes(), BytesAfter(text, snapshot.tokens(), size));
}

}  // namespace

sessions::SessionModel FakeModel() {
  return {.fingerprint = std::string(32, 'm'),
          .slot_bytes = kSlotBytes,
          .vocab_size = kVocabSize,
          .archives = std::make_shared<FakeArchives>(),
          .others = {{kernels::CacheType::kInt8, std::string(32, 's'), kSmallSlotBytes}}};
}

sessions::SessionModel FakeModelOfSmallSlots() {
  return {.fingerprint = std::string(32, 's'),
          .slot_bytes = kSmallSlotBytes,
          .vocab_size = kVocabSize,
          .type = kernels::CacheType::kInt8,
          .others = {{kernels::CacheType::kF32, std::string(32, 'm'), kSlotBytes}}};
}

std::unique_ptr<sessions::SessionStore> OpenStore(sessions::SessionOptions options, Now now) {
  options.sweep_seconds = 0;
  auto store =
      sessions::SessionStore::Open(FakeModel(), std::move(options), nullptr, std::move(now));
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

engine::SnapshotPtr StateAfter(const Text& text, int64_t tokens) {
  return tokens == 0 ? nullptr : SnapshotAfter(text, tokens, kSlotBytes);
}

engine::SnapshotPtr SmallStateAfter(const Text& text, int64_t tokens) {
  return SnapshotAfter(text, tokens, kSmallSlotBytes, kernels::CacheType::kInt8);
}

engine::State ArchivedAfter(const Text& text, int64_t tokens, const engine::Archive& before) {
  engine::State state(StateAfter(text, tokens));
  for (int64_t begin = 0; begin + kChunkTokens <= tokens; begin += kChunkTokens) {
    const size_t index = state.archive.size();
    state.archive.push_back(
        index < before.size() ? before[index]
                              : std::make_shared<FakeChunk>(
                                    begin, SnapshotAfter(text, begin + kChunkTokens, kChunkBytes)));
  }
  return state;
}

bool IsStateAfter(const engine::State& state, const Text& text, bool archived) {
  const bool small = state.slot->type() == kernels::CacheType::kInt8;
  if (!IsSnapshotAfter(*state.slot, text, small ? kSmallSlotBytes : kSlotBytes)) return false;
  const int64_t chunks = std::ssize(state.archive);
  if ((archived || chunks > 0) && chunks != state.slot->tokens() / kChunkTokens) return false;
  for (int64_t i = 0; i < chunks; ++i) {
    const engine::ArchiveChunk& chunk = *state.archive[i];
    const auto bytes = chunk.Save();
    if (chunk.begin() != i * kChunkTokens || chunk.end() != chunk.begin() + kChunkTokens ||
        !bytes.ok() || !IsSnapshotAfter(**bytes, text, kChunkBytes)) {
      return false;
    }
  }
  return true;
}

void ExpectTurnOf(const sessions::Turn& turn, const Text& text, bool archived) {
  ASSERT_EQ(turn.tokens(), std::ssize(text));
  const int64_t start = turn.state().slot == nullptr ? 0 : turn.state().slot->tokens();
  if (turn.state().slot != nullptr) {
    EXPECT_TRUE(IsStateAfter(turn.state(), text, archived)) << start << " of " << text.size();
  }
  ASSERT_LE(start, std::ssize(text));
  EXPECT_EQ(turn.pending(), Text(text.begin() + start, text.end()));
  const int64_t history = std::ssize(turn.history());
  ASSERT_LE(history, start);
  EXPECT_EQ(turn.history(), Text(text.begin() + (start - history), text.begin() + start));
}

Text NextTokens(const Text& text, int64_t count, int32_t salt) {
  Text tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(Mix(salt, text.size() + i) % kVocabSize));
  }
  return tokens;
}

absl::StatusOr<sessions::SessionInfo> RunTurn(sessions::SessionStore& store,
                                              const sessions::SessionName& name, Text& text,
                                              const Text& appended,
                                              const std::vector<int64_t>& points) {
  auto turn = store.BeginTurn(name);
  if (!turn.ok()) return turn.status();
  ExpectTurnOf(**turn, text);
  Text whole = text;
  whole.insert(whole.end(), appended.begin(), appended.end());
  for (const int64_t tokens : points) (*turn)->AddPoint(StateAfter(whole, tokens));
  const int64_t read = std::max<int64_t>(0, std::ssize(whole) - 1);
  auto info = (*turn)->Commit(appended, StateAfter(whole, read));
  if (info.ok()) text = std::move(whole);
  return info;
}

absl::StatusOr<sessions::SessionInfo> RunArchivedTurn(sessions::SessionStore& store,
                                                      const sessions::SessionName& name, Text& text,
                                                      const Text& appended) {
  auto turn = store.BeginTurn(name);
  if (!turn.ok()) return turn.status();
  ExpectTurnOf(**turn, text, /*archived=*/true);
  Text whole = text;
  whole.insert(whole.end(), appended.begin(), appended.end());
  auto info = (*turn)->Commit(
      appended, ArchivedAfter(whole, std::ssize(whole) - 1, (*turn)->state().archive));
  if (info.ok()) text = std::move(whole);
  return info;
}

absl::StatusOr<std::string> ReadAll(sessions::SessionExport& blob, size_t piece_bytes) {
  std::string bytes;
  for (;;) {
    const auto piece = blob.Next(piece_bytes);
    if (!piece.ok()) return piece.status();
    if (piece->empty()) return bytes;
    EXPECT_LE(piece->size(), piece_bytes);
    bytes += *piece;
  }
}

absl::StatusOr<sessions::SessionInfo> ImportAll(sessions::SessionStore& store,
                                                const sessions::SessionName& name,
                                                const std::string& blob, size_t piece_bytes) {
  auto import = store.Import(name, {});
  if (!import.ok()) return import.status();
  for (size_t at = 0; at < blob.size(); at += piece_bytes) {
    const absl::Status status = (*import)->Write(std::string_view(blob).substr(at, piece_bytes));
    if (!status.ok()) return status;
  }
  return (*import)->Finish();
}

PartFiles FindParts(const std::filesystem::path& folder) {
  PartFiles found;
  std::set<std::pair<std::string, int64_t>> seen;  // ids and numbers
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    found.files += name.ends_with(".state") || name.ends_with(".chunks") ? 1 : 0;
    if (!name.ends_with(".session")) continue;
    const auto file = sessions::OpenFile::ForReading(entry.path());
    if (!file.ok()) continue;  // removed meanwhile
    const auto header = sessions::ReadRecordHeader(*file, FakeModel());
    EXPECT_TRUE(header.ok()) << header.status();
    const auto contents = sessions::ContentsFromHeader(*header, FakeModel());
    EXPECT_TRUE(contents.ok()) << contents.status();
    for (const sessions::PartPtr& part : PartsOf(*contents)) {
      found.bytes += part->bytes;
      if (seen.emplace(part->id, part->number).second) found.unique_bytes += part->bytes;
    }
  }
  return found;
}

int64_t CountFiles(const std::filesystem::path& folder, const std::string& suffix) {
  int64_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().filename().string().ends_with(suffix)) ++count;
  }
  return count;
}

}  // namespace fmaserver::testing
