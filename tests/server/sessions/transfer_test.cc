// Blobs: whole, in pieces, cut short, damaged, foreign.
#include <functional>
#include <random>

#include "base/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"

namespace fmaserver::sessions {
namespace {

using testing::FakeModel;
using ::testing::HasSubstr;
using testing::ImportAll;
using testing::NextTokens;
using testing::OpenStore;
using testing::ReadAll;
using testing::Text;

const SessionName kSource{kDefaultTenant, "source"};

class TransferTest : public ::testing::Test {
 protected:
  TransferTest() : store_(OpenStore({})) {
    EXPECT_TRUE(store_->Create(kSource, {}).ok());
    for (const int64_t count : {20, 1, 7}) {
      EXPECT_TRUE(
          testing::RunTurn(*store_, kSource, text_, NextTokens(text_, count, 3), {4, 9}).ok());
    }
  }

  std::string Blob(bool head_only = false) {
    auto blob = store_->Export(kSource, head_only);
    EXPECT_TRUE(blob.ok()) << blob.status();
    auto bytes = ReadAll(**blob, 100);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return *std::move(bytes);
  }

  // The status of importing `blob`, which must fail and leave nothing behind.
  absl::Status Refusal(const std::string& blob) {
    const auto info = ImportAll(*store_, {kDefaultTenant, "copy"}, blob, 1000);
    EXPECT_EQ(store_->Get({kDefaultTenant, "copy"}).status().code(), absl::StatusCode::kNotFound);
    return info.status();
  }

  Text text_;
  std::unique_ptr<SessionStore> store_;
};

TEST_F(TransferTest, APieceOfAnySizeWillDo) {
  const std::string blob = Blob();
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{63}, blob.size()}) {
    const auto info = ImportAll(*store_, {"other", "copy"}, blob, piece);
    ASSERT_TRUE(info.ok()) << info.status();
    const auto source = store_->Get(kSource);
    EXPECT_EQ(info->tokens, source->tokens);
    EXPECT_EQ(info->rewind_points, source->rewind_points);
    EXPECT_EQ(info->log_begin, source->log_begin);
    testing::ExpectTurnOf(**store_->BeginTurn({"other", "copy"}), text_);
    ASSERT_TRUE(store_->Rewind({"other", "copy"}, 20).ok());
    testing::ExpectTurnOf(**store_->BeginTurn({"other", "copy"}),
                          Text(text_.begin(), text_.begin() + 20));
    ASSERT_TRUE(store_->Delete({"other", "copy"}).ok());
  }
}

TEST_F(TransferTest, TheHeadAloneIsSmaller) {
  const std::string blob = Blob(/*head_only=*/true);
  EXPECT_LT(blob.size(), Blob().size() - 3 * testing::kSlotBytes);
  const auto info = ImportAll(*store_, {kDefaultTenant, "copy"}, blob, 50);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->rewind_points, std::vector<int64_t>{27});
  testing::ExpectTurnOf(**store_->BeginTurn({kDefaultTenant, "copy"}), text_);
}

TEST_F(TransferTest, AnArchiveTravelsOnce) {
  const SessionName archived{kDefaultTenant, "archived"};
  const SessionName copy{kDefaultTenant, "copy"};
  ASSERT_TRUE(store_->Create(archived, {}).ok());
  const Text text = NextTokens({}, 23, 3);
  auto turn = store_->BeginTurn(archived);
  const engine::State first = testing::ArchivedAfter(text, 12, {});
  (*turn)->AddPoint(first);
  ASSERT_TRUE((*turn)->Commit(text, testing::ArchivedAfter(text, 22, first.archive)).ok());
  auto blob = store_->Export(archived, /*head_only=*/false);
  ASSERT_TRUE(blob.ok()) << blob.status();
  const auto bytes = ReadAll(**blob, 100);
  ASSERT_TRUE(bytes.ok());
  const auto info = ImportAll(*store_, copy, *bytes, 70);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->bytes, store_->Get(archived)->bytes);
  testing::ExpectTurnOf(**store_->BeginTurn(copy), text, /*archived=*/true);
  ASSERT_TRUE(store_->Rewind(copy, 12).ok());
  testing::ExpectTurnOf(**store_->BeginTurn(copy), Text(text.begin(), text.begin() + 12),
                        /*archived=*/true);
  // The copy is independent: deleting the source does not change it.
  ASSERT_TRUE(store_->Delete(archived).ok());
  testing::ExpectTurnOf(**store_->BeginTurn(copy), Text(text.begin(), text.begin() + 12),
                        /*archived=*/true);
  ASSERT_TRUE(store_->Delete(copy).ok());
  for (size_t at = 0; at < bytes->size(); at += 3) {
    std::string damaged = *bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 64);
    ASSERT_EQ(Refusal(damaged).code(), absl::StatusCode::kInvalidArgument) << at;
    ASSERT_EQ(Refusal(bytes->substr(0, at)).code(), absl::StatusCode::kInvalidArgument) << at;
  }
}

TEST_F(TransferTest, AnEmptySessionTravelsToo) {
  ASSERT_TRUE(store_->Rewind(kSource, 0).ok());
  const auto info = ImportAll(*store_, {kDefaultTenant, "copy"}, Blob(), 50);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->tokens, 0);
}

TEST_F(TransferTest, AnyFlippedByteIsRefused) {
  const std::string blob = Blob();
  for (size_t at = 0; at < blob.size(); ++at) {
    for (const char flip : {'\x01', '\x80'}) {
      std::string damaged = blob;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const absl::Status status = Refusal(damaged);
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << at << ": " << status;
      ASSERT_THAT(std::string(status.message()), HasSubstr("data: ")) << at;
    }
  }
}

TEST_F(TransferTest, AnyTruncationIsRefused) {
  const std::string blob = Blob();
  for (size_t size = 0; size < blob.size(); ++size) {
    ASSERT_EQ(Refusal(blob.substr(0, size)).code(), absl::StatusCode::kInvalidArgument) << size;
  }
  EXPECT_THAT(std::string(Refusal(blob.substr(0, blob.size() - 1)).message()),
              HasSubstr("ends too early"));
  EXPECT_THAT(std::string(Refusal(blob + "x").message()), HasSubstr("after the last state"));
  std::string twice = blob;
  twice += blob;
  EXPECT_EQ(Refusal(twice).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TransferTest, NoiseIsRefused) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2'000; ++i) {
    std::string noise(random() % 400, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    // Half of the cases begin like a real blob.
    if (i % 2 == 0) noise.insert(0, Blob().substr(0, random() % 60));
    ASSERT_EQ(Refusal(noise).code(), absl::StatusCode::kInvalidArgument);
  }
}

// A record with a correct checksum and any header, as a malicious sender could make it.
std::string Forged(const internal::RecordHeader& header, const std::string& payload) {
  const SealedRecord record = SealRecord(header, std::as_bytes(std::span(payload)));
  return record.head + payload + record.digest;
}

internal::RecordHeader SessionHeaderOf(uint64_t tokens, uint64_t log_tokens) {
  internal::RecordHeader header;
  header.set_model(FakeModel().fingerprint);
  header.mutable_session()->set_tokens(tokens);
  header.mutable_session()->set_log_tokens(log_tokens);
  return header;
}

TEST_F(TransferTest, NumbersThatDoNotFitAreRefused) {
  const auto refused = [this](const internal::RecordHeader& header, const std::string& payload,
                              const char* part) {
    const absl::Status status = Refusal(Forged(header, payload));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  };
  const std::string two(8, '\0');
  EXPECT_TRUE(ImportAll(*store_, {"t", "fine"}, Forged(SessionHeaderOf(2, 2), two), 10).ok());
  refused(SessionHeaderOf(2, 3), std::string(12, '\0'),
          "log is 3 of 2 tokens; allowed: at most all");
  refused(SessionHeaderOf(2, 2), std::string(9, '\0'),
          "payload is 9 bytes; allowed: 4 for each of 2 tokens");
  refused(SessionHeaderOf(uint64_t{1} << 63, 2), two, "tokens");
  refused(SessionHeaderOf(5, (uint64_t{1} << 62) + 2), two, "log is ");
  refused(SessionHeaderOf(3, 2), two, "first token of the log is 1; allowed: up to 0");
  refused(SessionHeaderOf(2, 2), std::string("\xE8\x03\0\0\0\0\0\0", 8),
          "token in the log is 1000; allowed: 0 to ");
  refused(SessionHeaderOf(2, 2), std::string("\xFF\xFF\xFF\xFF\0\0\0\0", 8),
          "token in the log is -1; allowed: 0 to ");

  internal::RecordHeader header = SessionHeaderOf(2, 2);
  header.mutable_session()->set_ttl_seconds(std::numeric_limits<double>::quiet_NaN());
  refused(header, two, "time to live is nan; allowed: 0 to ");
  header = SessionHeaderOf(2, 2);
  header.mutable_session()->mutable_interruption()->set_token("x");
  refused(header, two, "interrupted turn is present; allowed: none");
  header = SessionHeaderOf(2, 2);
  header.mutable_session()->add_points()->set_tokens(1);
  refused(header, two, "id of a state is ");
  header.mutable_session()->mutable_points(0)->set_id(std::string(22, '/'));
  refused(header, two, "id of a state is ");
  header.mutable_session()->mutable_points(0)->set_id(std::string(22, 'a'));
  header.mutable_session()->mutable_points(0)->set_tokens(3);
  refused(header, two, "state is after 3 tokens; allowed: more than 0 and up to 2");
  header.mutable_session()->mutable_points(0)->set_tokens(0);
  refused(header, two, "state is after 0 tokens; allowed: more than 0 and up to 2");
  header.mutable_session()->mutable_points(0)->set_tokens(1);
  internal::RecordHeader twice = header;
  *twice.mutable_session()->add_points() = header.session().points(0);
  twice.mutable_session()->mutable_points(1)->set_tokens(2);
  refused(twice, two, "allowed: one that no other state has");
  for (int i = 0; i < kMaxRewindPoints + 1; ++i) {
    *header.mutable_session()->add_points() = header.session().points(0);
  }
  refused(header, two, "number of states is 1002; allowed: up to 1001");
  header = SessionHeaderOf(2, 2);
  header.clear_session();
  refused(header, two, "record is a state; allowed: a session");
  header = SessionHeaderOf(2, 2);
  header.set_model(std::string(32, 'x'));
  refused(header, two,
          "model is another model; allowed: the one that is served, with its types of");
}

TEST_F(TransferTest, ArchivesThatDoNotFitAreRefused) {
  const auto refused = [this](const std::function<void(internal::SessionRecord&)>& change,
                              const char* part) {
    internal::RecordHeader header = SessionHeaderOf(2, 2);
    for (int i = 0; i < 2; ++i) {
      internal::PointRecord& point = *header.mutable_session()->add_points();
      point.set_id(std::string(22, static_cast<char>('a' + i)));
      point.set_tokens(i + 1);
    }
    internal::SessionRecord& record = *header.mutable_session();
    record.set_chunk_tokens(1);
    record.set_chunk_bytes(9);
    record.add_chunks()->set_volume(std::string(22, 'c'));
    record.mutable_chunks(0)->set_count(2);
    record.mutable_points(1)->set_chunks(2);
    change(record);
    const absl::Status status = Refusal(Forged(header, std::string(8, '\0')));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  };
  refused([](auto&) {}, "ends too early");  // the only thing wrong is that no part follows
  refused([](auto& record) { record.mutable_chunks(0)->set_volume("c"); },
          "id of a volume is \"c\"; allowed: 22 of ");
  refused([](auto& record) { record.set_chunk_tokens(2); },
          "archive is 2 chunks of 2 tokens; allowed: up to 2, within the 2 tokens of their state");
  refused([](auto& record) { record.mutable_points(0)->set_chunks(2); },
          "archive is 2 chunks of 1 tokens; allowed: up to 2, within the 1 tokens");
  refused([](auto& record) { record.mutable_points(1)->set_chunks(~uint64_t{0}); }, "archive is ");
  refused([](auto& record) { record.set_chunk_tokens(0); },
          "chunk is 9 bytes for the tokens 0 to 0");
  refused([](auto& record) { record.set_chunk_tokens(uint64_t{1} << 63); }, "chunk is 9 bytes for");
  refused([](auto& record) { record.set_chunk_bytes(0); }, "chunk is 0 bytes; allowed: 1 to ");
  refused([](auto& record) { record.set_chunk_bytes(~uint64_t{0}); }, "chunk is 18446744073709551");
  for (const uint64_t count : {uint64_t{kMaxChunks}, uint64_t{1} << 40, ~uint64_t{0}}) {
    refused(
        [count](auto& record) {
          record.add_chunks()->set_volume(std::string(22, 'd'));
          record.mutable_chunks(1)->set_count(count);
        },
        "number of chunks is larger; allowed: up to 1048576");
  }
  refused(
      [](auto& record) {
        record.add_chunks()->set_volume(std::string(22, 'c'));
        record.mutable_chunks(1)->set_first(1);
      },
      "first chunk of a run is 1; allowed: 2 to ");
  refused([](auto& record) { record.mutable_chunks(0)->set_first(uint64_t{1} << 50); },
          "first chunk of a run is 1125899906842624; allowed: 0 to ");
}

TEST_F(TransferTest, ARunOfMoreChunksThanThereIsRoomForMakesNoParts) {
  internal::RecordHeader header = SessionHeaderOf(2, 2);
  header.mutable_session()->set_chunk_tokens(1);
  header.mutable_session()->set_chunk_bytes(9);
  internal::ChunkRun& run = *header.mutable_session()->add_chunks();
  run.set_volume(std::string(22, 'c'));
  run.set_count(1 << 17);
  EXPECT_EQ(Refusal(Forged(header, std::string(8, '\0'))).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(TransferTest, AnotherModelRefusesTheBlob) {
  SessionModel model = FakeModel();
  model.fingerprint = std::string(32, 'n');
  auto other = SessionStore::Open(model, {.sweep_seconds = 0}, nullptr);
  ASSERT_TRUE(other.ok());
  const auto info = ImportAll(**other, {kDefaultTenant, "copy"}, Blob(), 100);
  EXPECT_EQ(info.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(info.status().message()), HasSubstr("another model"));
}

TEST_F(TransferTest, WhatDoesNotFitIsRefusedBeforeItArrives) {
  const std::string blob = Blob();
  const auto small = OpenStore({.memory_bytes = 500});
  auto import = small->Import({kDefaultTenant, "copy"}, {});
  ASSERT_TRUE(import.ok());
  EXPECT_EQ((*import)->Write(std::string_view(blob).substr(0, 600)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ((*import)->Finish().status().code(), absl::StatusCode::kResourceExhausted);
  import->reset();
  EXPECT_TRUE(small->Create({kDefaultTenant, "copy"}, {}).ok());
}

TEST_F(TransferTest, AnImportedSessionKeepsTheImportersLimits) {
  const auto small = OpenStore({.rewind_points = 1, .log_tokens = 5});
  const auto info = ImportAll(*small, {kDefaultTenant, "copy"}, Blob(), 100);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->rewind_points.size(), 2);
  EXPECT_EQ(info->log_begin, 23);
  testing::ExpectTurnOf(**small->BeginTurn({kDefaultTenant, "copy"}), text_);
}

TEST_F(TransferTest, AnExportIsWhatTheSessionWasWhenItBegan) {
  auto blob = store_->Export(kSource, false);
  ASSERT_TRUE(blob.ok());
  const Text before = text_;
  ASSERT_TRUE(testing::RunTurn(*store_, kSource, text_, NextTokens(text_, 5, 1)).ok());
  ASSERT_TRUE(store_->Delete(kSource).ok());
  const auto bytes = ReadAll(**blob, 77);
  ASSERT_TRUE(bytes.ok());
  ASSERT_TRUE(ImportAll(*store_, {kDefaultTenant, "copy"}, *bytes, 100).ok());
  testing::ExpectTurnOf(**store_->BeginTurn({kDefaultTenant, "copy"}), before);
}

}  // namespace
}  // namespace fmaserver::sessions
