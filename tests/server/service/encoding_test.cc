#include "server/service/encoding.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "server/service/scoring.h"
#include "tests/server/service/service_fixture.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using EncodeDoor = FakeDoor<service::EncodeEvent>;

constexpr int32_t kMask = 256;

std::unique_ptr<engine::EncoderEngine> MakeEncoder(int64_t positions) {
  model::ModelConfig config = ShortModelConfig(positions);
  config.vocab_size = 257;
  config.mask_token_id = kMask;
  config.attention.causal = false;
  config.attention.padding = kernels::Padding::kMasked;
  const TempFolder folder;
  Require(WriteRandomCheckpoint(config, 1, kernels::WeightFormat::kF32, folder.path()));
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  Require(checkpoint.status());
  auto encoder = engine::Encoder::Load(*checkpoint, *kernels::MakeCpuBackend(1), {});
  Require(encoder.status());
  auto engine = engine::EncoderEngine::Create(*std::move(encoder), checkpoint->tokenizer(), {});
  Require(engine.status());
  return *std::move(engine);
}

/// An encoder "reader" of texts of up to 64 bytes, and a decoder "writer".
class EncodingTest : public ::testing::Test {
 protected:
  EncodingTest() { Serve({}); }

  void Serve(const service::RequestLimits& limits, const std::string& tokens = "") {
    service_.reset();
    models_ = std::make_unique<models::ModelRegistry>([](const models::ModelSource& source) {
      if (source.name == "reader") {
        return std::make_unique<models::ServedModel>(source, MakeEncoder(64));
      }
      auto engine = MakeTestEngine(ByteModelConfig(), {});
      auto sessions = MakeTestSessions(*engine, {});
      return std::make_unique<models::ServedModel>(source, std::move(engine), std::move(sessions));
    });
    Require(models_->Load({.name = "reader", .folder = {}}).status());
    Require(models_->Load({.name = "writer", .folder = {}}).status());
    service_ = std::make_unique<service::Service>(
        *models_,
        service::CallPolicy{.access = AccessOf(tokens), .observer = reports_, .limits = limits});
  }

  absl::Status Run(service::EncodeRequest request, const std::string& model = "reader",
                   const std::string& authorization = "") {
    const auto& kind = request.candidates > 0 ? service::kFillMask : service::kEmbed;
    const auto call = service_->Begin(kind, {.authorization = authorization});
    const auto found = call->admission().ok() ? service_->Find(model, *call) : call->admission();
    door_ = std::make_shared<EncodeDoor>();
    const auto encoding = service::Encoding::Start(
        *service_, found, call, door_, 10, [request = std::move(request)]() mutable {
          return absl::StatusOr<service::EncodeRequest>(std::move(request));
        });
    return door_->Run(*encoding);
  }

  const service::TextEncoded& Answer(size_t i = 0) const {
    return std::get<service::TextEncoded>(door_->events().at(i));
  }
  const service::EncodeSummary& Summary() const {
    return std::get<service::EncodeSummary>(door_->events().back());
  }

  static service::EncodeRequest Of(const std::string& text) { return {.texts = {{.text = text}}}; }
  static service::EncodeRequest Masked(const std::string& text, const std::string& mask) {
    return {.texts = {{.text = text}}, .candidates = 2, .mask = mask};
  }

  const std::shared_ptr<ReportKeeper> reports_ = std::make_shared<ReportKeeper>();
  std::unique_ptr<models::ModelRegistry> models_;
  std::unique_ptr<service::Service> service_;
  std::shared_ptr<EncodeDoor> door_;
};

TEST_F(EncodingTest, TextsAndTheirTokensGiveTheSameVector) {
  service::EncodeRequest request = Of("hello");
  request.texts.push_back({.ids = std::vector<int32_t>{'h', 'e', 'l', 'l', 'o'}});
  ASSERT_TRUE(Run(std::move(request)).ok());
  EXPECT_EQ(Answer(0).text.embedding.size(), 16U);
  EXPECT_EQ(Answer(0).text.embedding, Answer(1).text.embedding);
  EXPECT_EQ(Answer(1).text.index, 1);
  EXPECT_EQ(Summary().tokens, 10);
  const service::CallReport report = reports_->Await(service::kEmbed);
  EXPECT_EQ(report.model, "reader");
  EXPECT_EQ(report.usage.prompt_tokens, 10);
  EXPECT_TRUE(report.status.ok());
}

TEST_F(EncodingTest, ALongTextIsRefusedUnlessItIsToBeTruncated) {
  const std::string text(70, 'x');
  ExpectRefusal(Run(Of(text)), {"inputs[0] is 70 tokens", "up to 64", "truncate"});
  service::EncodeRequest request = Of(text);
  request.truncate = true;
  ASSERT_TRUE(Run(std::move(request)).ok());
  EXPECT_EQ(Answer().text.tokens, 64);
  EXPECT_EQ(Answer().truncated_tokens, 6);
  const std::vector<float> truncated = Answer().text.embedding;
  ASSERT_TRUE(Run(Of(std::string(64, 'x'))).ok());
  EXPECT_EQ(Answer().truncated_tokens, 0);
  EXPECT_EQ(Answer().text.embedding, truncated);
}

TEST_F(EncodingTest, TheServersOwnLimitCountsToo) {
  Serve({.prompt_tokens = 8});
  ExpectRefusal(Run(Of("123456789")), {"inputs[0] is 9 tokens", "up to 8"});
  service::EncodeRequest request = Of("123456789");
  request.truncate = true;
  ASSERT_TRUE(Run(std::move(request)).ok());
  EXPECT_EQ(Answer().text.tokens, 8);
}

TEST_F(EncodingTest, AServerForDecodeReadsLittle) {
  Serve({.share = {.role = service::Role::kDecode, .tokens = 8}});
  EXPECT_TRUE(Run(Of("12345678")).ok());
  const absl::Status status = Run({.texts = {{.text = "12345"}, {.text = "1234"}}});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokens to read is 9"));
}

TEST_F(EncodingTest, OnlyWhatTheRequestSaysStandsForAMask) {
  ASSERT_TRUE(Run(Masked("a [MASK] b ___ c ___", "___")).ok());
  ASSERT_EQ(Answer().text.masks.size(), 2U);
  EXPECT_EQ(Answer().text.masks[0].position, 11);
  EXPECT_EQ(Answer().text.masks[1].position, 15);
  EXPECT_EQ(Answer().text.masks[0].candidates.size(), 2U);
  EXPECT_EQ(Answer().text.tokens, 16);
  ExpectRefusal(Run(Masked("a [MASK] b", "")), {"inputs[0] is a text without a mask"});
  ExpectRefusal(Run(Masked("a [MASK] b", "[mask]")), {"inputs[0] is a text without a mask"});
  ExpectRefusal(Run(Masked("a", std::string(257, 'm'))), {"mask is 257 bytes", "up to 256"});
}

TEST_F(EncodingTest, ATextOfMasksAloneIsOne) {
  ASSERT_TRUE(Run(Masked("____", "__")).ok());
  ASSERT_EQ(Answer().text.masks.size(), 2U);
  EXPECT_EQ(Answer().text.tokens, 2);
}

TEST_F(EncodingTest, WhatIsWrongIsToldWithItsPlace) {
  ExpectRefusal(Run({}), {"inputs is 0 texts"});
  ExpectRefusal(Run({.texts = {{.text = "a"}, {}}}), {"inputs[1]", "exactly one of text"});
  ExpectRefusal(Run({.texts = {{.text = "a"}, {.text = ""}}}), {"inputs[1]", "0 tokens"});
  ExpectRefusal(Run({.texts = {{.text = "\xff"}}}), {"inputs[0]", "text"});
}

TEST_F(EncodingTest, EachKindOfModelRefusesTheCallsOfTheOther) {
  const absl::Status decoder = Run(Of("a"), "writer");
  EXPECT_EQ(decoder.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(decoder.message(),
            "model \"writer\" is a decoder; allowed: an encoder (FmaForMaskedLM)");
  for (const service::CallKind* kind :
       {&service::kGenerate, &service::kScore, &service::kCreateSession, &service::kOpenAiChat}) {
    const auto call = service_->Begin(*kind, {});
    const absl::Status encoder = service_->Find("reader", *call).status();
    EXPECT_EQ(encoder.code(), absl::StatusCode::kFailedPrecondition) << kind->method;
    EXPECT_EQ(encoder.message(),
              "model \"reader\" is an encoder, which generates nothing; allowed: a decoder "
              "(FmaForCausalLM); Embed and FillMask read encoders");
  }
  for (const service::CallKind* kind : {&service::kTokenize, &service::kGetModel}) {
    const auto call = service_->Begin(*kind, {});
    EXPECT_TRUE(service_->Find("reader", *call).ok()) << kind->method;
  }
}

TEST_F(EncodingTest, TenantsPayForWhatIsRead) {
  // sha256 of "secret".
  Serve({},
        "ann 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b "
        "tokens-per-minute=60\n");
  EXPECT_EQ(Run(Of("a")).code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(reports_->Await(service::kEmbed).tenant, "");
  reports_->Forget();
  ASSERT_TRUE(Run(Of(std::string(64, 'x')), "reader", "Bearer secret").ok());
  EXPECT_EQ(reports_->Await(service::kEmbed).tenant, "ann");
  const absl::Status poor = Run(Of("a"), "reader", "Bearer secret");
  EXPECT_EQ(poor.code(), absl::StatusCode::kResourceExhausted) << poor;
}

TEST_F(EncodingTest, AReaderWhoLeavesEndsItsRequest) {
  service::EncodeRequest request;
  request.texts.assign(2048, {.text = std::string(64, 'x')});
  const auto call = service_->Begin(service::kEmbed, {});
  const auto found = service_->Find("reader", *call);
  const auto door = std::make_shared<EncodeDoor>();
  const auto encoding = service::Encoding::Start(*service_, found, call, door, 10, [request] {
    return absl::StatusOr<service::EncodeRequest>(request);
  });
  EXPECT_TRUE(absl::IsCancelled(door->Run(*encoding, std::chrono::microseconds(0), 1)));
  EXPECT_TRUE(Eventually([&] { return (*found)->encoder().Load().running == 0; }));
  EXPECT_LT(door->events().size(), 2048U);
}

}  // namespace
}  // namespace fmaserver::testing
