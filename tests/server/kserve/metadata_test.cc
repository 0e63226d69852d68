// What the server and its model say of themselves.
#include "absl/time/time.h"
#include "tests/server/kserve/infer_fixture.h"

namespace fmaserver::testing {
namespace {

using Service = inference::GRPCInferenceService;

class MetadataTest : public InferFixture {
 protected:
  /// The answer of a method; it must have one.
  template <class Response, class Request>
  Response Ask(grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                                     Response*),
               const Request& request = {}) {
    grpc::ClientContext context;
    Response response;
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  bool IsReady(const std::string& name, const std::string& version = "") {
    inference::ModelReadyRequest request;
    request.set_name(name);
    request.set_version(version);
    return Ask(&Service::Stub::ModelReady, request).ready();
  }
};

TEST_F(MetadataTest, ReadyUntilItDrains) {
  EXPECT_TRUE(Ask(&Service::Stub::ServerLive).live());
  EXPECT_TRUE(Ask(&Service::Stub::ServerReady).ready());
  EXPECT_TRUE(IsReady("test", "1"));
  EXPECT_FALSE(IsReady("test", "2"));
  EXPECT_FALSE(IsReady("other"));
  server_.engine().Drain(absl::ZeroDuration());
  EXPECT_TRUE(Ask(&Service::Stub::ServerLive).live());
  EXPECT_FALSE(Ask(&Service::Stub::ServerReady).ready());
  EXPECT_FALSE(IsReady("test"));
}

TEST_F(MetadataTest, DescribesServerAndModel) {
  EXPECT_EQ(Ask(&Service::Stub::ServerMetadata).name(), "fma-server");
  inference::ModelMetadataRequest request;
  request.set_name("test");
  const auto metadata = Ask(&Service::Stub::ModelMetadata, request);
  EXPECT_EQ(metadata.name(), "test");
  ASSERT_EQ(metadata.inputs_size(), 4);
  EXPECT_EQ(metadata.inputs(0).name(), "text_input");
  EXPECT_EQ(metadata.outputs(0).datatype(), "BYTES");
  const inference::ModelConfig config = Ask(&Service::Stub::ModelConfig).config();
  EXPECT_TRUE(config.model_transaction_policy().decoupled());
  EXPECT_EQ(config.input(1).data_type(), inference::TYPE_BOOL);
  EXPECT_TRUE(config.input(1).optional());
  const auto index = Ask(&Service::Stub::RepositoryIndex);
  ASSERT_EQ(index.models_size(), 1);
  EXPECT_EQ(index.models(0).state(), "READY");
}

}  // namespace
}  // namespace fmaserver::testing
