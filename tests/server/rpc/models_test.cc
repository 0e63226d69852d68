// Several models behind one socket: requests find theirs, and an administrator changes them.
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "fma/v1/admin.grpc.pb.h"
#include "fma/v1/sessions.grpc.pb.h"
#include "tests/server/rpc/test_server.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

std::unique_ptr<models::ServedModel> MakeModel(const models::ModelSource& source) {
  // Only the first has a tokenizer, so that it can be told from the others.
  auto engine = MakeTestEngine(source.name == "bytes" ? ByteModelConfig() : IdModelConfig(),
                               {.num_slots = 2});
  auto sessions = MakeTestSessions(*engine, {});
  return std::make_unique<models::ServedModel>(source, std::move(engine), std::move(sessions));
}

constexpr char kAdminToken[] = "let me in";

std::shared_ptr<access::Access> Admins() {
  const TempFolder folder;
  const std::string digest = Sha256Of(std::string_view(kAdminToken));
  std::string line = "root ";
  for (const unsigned char byte : digest) absl::StrAppend(&line, absl::Hex(byte, absl::kZeroPad2));
  EXPECT_TRUE(WriteFile(folder.path() / "admins", line + "\n"));
  auto access = access::Access::Open(folder.path() / "admins");
  Require(access.status());
  return *std::move(access);
}

service::CallPolicy PolicyWithAdmins() {
  service::CallPolicy policy;
  policy.admins = Admins();
  return policy;
}

class ModelsTest : public ::testing::Test {
 protected:
  explicit ModelsTest(service::CallPolicy policy = PolicyWithAdmins())
      : service_(Load(models_), std::move(policy)) {
    auto rpc = rpc::RpcServer::Start(service_, {.listen = "127.0.0.1:0"});
    Require(rpc.status());
    rpc_ = *std::move(rpc);
    const auto channel = grpc::CreateChannel(absl::StrCat("127.0.0.1:", rpc_->port()),
                                             grpc::InsecureChannelCredentials());
    stub_ = v1::Generation::NewStub(channel);
    sessions_ = v1::Sessions::NewStub(channel);
    admin_ = v1::Admin::NewStub(channel);
  }

  static models::ModelRegistry& Load(models::ModelRegistry& models) {
    Require(models.Load({"bytes", ""}).status());
    Require(models.Load({"ids", ""}).status());
    return models;
  }

  static v1::GenerateRequest IdRequest(const std::string& model, uint32_t max_tokens) {
    v1::GenerateRequest request;
    request.mutable_token_ids()->add_ids(7);
    request.set_max_tokens(max_tokens);
    request.set_model(model);
    return request;
  }

  std::string Names() {
    v1::ListModelsResponse listed;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->ListModels(&context, {}, &listed).ok());
    std::string names;
    for (const v1::Model& model : listed.models()) names += model.name() + " ";
    return names;
  }

  grpc::Status LoadModel(const std::string& name, const std::string& token = kAdminToken) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    v1::LoadModelRequest request;
    request.set_folder("anywhere");
    request.set_name(name);
    v1::Model model;
    return admin_->LoadModel(&context, request, &model);
  }

  grpc::Status UnloadModel(const std::string& name, double grace_seconds) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", absl::StrCat("Bearer ", kAdminToken));
    v1::UnloadModelRequest request;
    request.set_name(name);
    request.set_grace_seconds(grace_seconds);
    v1::UnloadModelResponse response;
    return admin_->UnloadModel(&context, request, &response);
  }

  models::ModelRegistry models_{
      [](const models::ModelSource& source) { return MakeModel(source); }};
  service::Service service_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  std::unique_ptr<v1::Generation::Stub> stub_;
  std::unique_ptr<v1::Sessions::Stub> sessions_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

TEST_F(ModelsTest, RequestsFindTheirModelAndWithoutANameTheFirst) {
  EXPECT_EQ(Names(), "bytes ids ");
  EXPECT_FALSE(Generate(*stub_, IdRequest("", 4)).Text().empty());
  EXPECT_FALSE(Generate(*stub_, IdRequest("bytes", 4)).Text().empty());
  const Generated ids = Generate(*stub_, IdRequest("ids", 4));
  EXPECT_TRUE(ids.status.ok()) << ids.status.error_message();
  EXPECT_EQ(ids.TokenIds().size(), 4U);
  EXPECT_TRUE(ids.Text().empty());

  v1::GetModelRequest request;
  request.set_model("ids");
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModel(&context, request, &model).ok());
  EXPECT_EQ(model.name(), "ids");
  EXPECT_EQ(model.tokenizer(), "");

  v1::TokenizeRequest text;
  text.set_text("abc");
  text.set_model("ids");
  v1::TokenizeResponse tokens;
  grpc::ClientContext second;
  EXPECT_EQ(stub_->Tokenize(&second, text, &tokens).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(ModelsTest, AnUnknownModelIsNotFoundAndTheMessageNamesWhatIsServed) {
  const Generated generated = Generate(*stub_, IdRequest("other", 4));
  EXPECT_EQ(generated.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(generated.status.error_message(), "model is \"other\"; allowed: bytes, ids");

  v1::ScoreRequest score;
  score.set_text("abc");
  score.set_model("other");
  grpc::ClientContext context;
  const auto reader = stub_->Score(&context, score);
  v1::ScoreResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);

  v1::CreateSessionRequest create;
  create.set_model("other");
  v1::Session session;
  grpc::ClientContext second;
  EXPECT_EQ(sessions_->Create(&second, create, &session).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ModelsTest, ASessionBelongsToItsModel) {
  v1::CreateSessionRequest create;
  create.set_session_id("talk");
  create.set_model("ids");
  v1::Session session;
  grpc::ClientContext first;
  ASSERT_TRUE(sessions_->Create(&first, create, &session).ok());
  v1::GenerateRequest turn = IdRequest("ids", 4);
  turn.set_session_id("talk");
  const Generated generated = Generate(*stub_, turn);
  EXPECT_TRUE(generated.status.ok()) << generated.status.error_message();
  EXPECT_EQ(generated.finished.at(0).session().tokens(), 5U);

  turn.clear_model();
  EXPECT_EQ(Generate(*stub_, turn).status.error_code(), grpc::StatusCode::NOT_FOUND);
  v1::GetSessionRequest get;
  get.set_session_id("talk");
  grpc::ClientContext second;
  EXPECT_EQ(sessions_->Get(&second, get, &session).error_code(), grpc::StatusCode::NOT_FOUND);
  get.set_model("ids");
  grpc::ClientContext third;
  EXPECT_TRUE(sessions_->Get(&third, get, &session).ok());
}

TEST_F(ModelsTest, AModelIsLoadedBesideAStreamAndUnloadedAgain) {
  auto stream =
      std::async(std::launch::async, [this] { return Generate(*stub_, IdRequest("ids", 20'000)); });
  EXPECT_TRUE(Eventually([this] { return (*models_.Find("ids"))->engine().FreeSlots() == 1; }));
  ASSERT_TRUE(LoadModel("more").ok());
  EXPECT_EQ(Names(), "bytes ids more ");
  EXPECT_EQ(Generate(*stub_, IdRequest("more", 4)).TokenIds().size(), 4U);
  EXPECT_TRUE(UnloadModel("more", 1).ok());
  EXPECT_EQ(Names(), "bytes ids ");
  const Generated generated = stream.get();
  EXPECT_TRUE(generated.status.ok()) << generated.status.error_message();
  EXPECT_EQ(generated.TokenIds().size(), 20'000U);
}

TEST_F(ModelsTest, UnloadingEndsWhatTheGraceDoesNotSuffice) {
  auto stream = std::async(std::launch::async,
                           [this] { return Generate(*stub_, IdRequest("ids", 100'000'000)); });
  EXPECT_TRUE(Eventually([this] { return (*models_.Find("ids"))->engine().FreeSlots() == 1; }));
  EXPECT_TRUE(UnloadModel("ids", 0).ok());
  EXPECT_EQ(stream.get().status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Generate(*stub_, IdRequest("ids", 4)).status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(Generate(*stub_, IdRequest("bytes", 4)).status.ok());
}

TEST_F(ModelsTest, AReaderThatHasStoppedHoldsUpNoUnloading) {
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, IdRequest("ids", 100'000'000));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_TRUE(UnloadModel("ids", 0).ok());
  context.TryCancel();
  reader->Finish();
}

TEST_F(ModelsTest, BadAdministrationChangesNothing) {
  EXPECT_EQ(LoadModel("more", "wrong").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(LoadModel("ids").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(LoadModel("no name").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(UnloadModel("other", 0).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(UnloadModel("ids", -1).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Names(), "bytes ids ");
  EXPECT_TRUE(UnloadModel("bytes", 0).ok());
  EXPECT_EQ(UnloadModel("ids", 0).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

class NoAdminTest : public ModelsTest {
 protected:
  NoAdminTest() : ModelsTest(service::CallPolicy()) {}
};

TEST_F(NoAdminTest, WithoutAdministratorsThereIsNoSuchService) {
  EXPECT_EQ(LoadModel("more").error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace fmaserver::testing
