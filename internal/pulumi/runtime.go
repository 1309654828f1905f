package pulumi

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// `pulumi import` wants the language host of the project, though it runs no program. A
// program in our own process has none, so we stand in for it.
type languageHost struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
}

func (languageHost) Handshake(context.Context, *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (languageHost) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: "1.0.0"}, nil
}

func (languageHost) GetRequiredPackages(context.Context, *pulumirpc.GetRequiredPackagesRequest) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

// serveLanguageHost returns the environment variable that leads pulumi to the stand-in.
func serveLanguageHost() (variable string, stop func(), err error) {
	cancel := make(chan bool)
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: cancel,
		Init: func(srv *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(srv, languageHost{})
			return nil
		},
	})
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("PULUMI_DEBUG_LANGUAGES=%s:%d", inlineRuntime, handle.Port), func() { close(cancel); <-handle.Done }, nil
}
