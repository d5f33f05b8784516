"""Off-screen rendering of OBJ models with VTK."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RENDER_SIDE = 384


def _materials(model: Path) -> str:
    """Text of a model's material file from its first material on: VTK's reader crashes on properties of none."""
    path = model.with_suffix(".mtl")
    text = path.read_text(encoding="latin-1") if path.is_file() else ""
    start = re.search(r"^\s*newmtl\b", text, re.MULTILINE)
    return text[start.start() :] if start else ""


def _window(model: Path, rotation: Sequence[float]) -> tuple[Any, Any]:
    import vtk

    vtk.vtkObject.GlobalWarningDisplayOff()  # missing optional material fields are reported on stderr otherwise
    renderer = vtk.vtkRenderer()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(RENDER_SIDE, RENDER_SIDE)
    window.SetMultiSamples(0)  # VTK's own smoothing differs between drivers; the picture is shrunk afterwards anyway
    window.AddRenderer(renderer)
    importer = vtk.vtkOBJImporter()
    importer.SetFileName(str(model))
    importer.SetTexturePath(str(model.parent))
    importer.SetRenderWindow(window)
    with tempfile.NamedTemporaryFile("w", suffix=".mtl") as materials:
        materials.write(_materials(model))
        materials.flush()
        importer.SetFileNameMTL(materials.name)
        importer.Update()
    turn = vtk.vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            turn.SetElement(row, column, rotation[3 * row + column])
    actors = renderer.GetActors()
    actors.InitTraversal()
    for _ in range(actors.GetNumberOfItems()):
        actor = actors.GetNextActor()
        actor.SetUserMatrix(turn)
        surface = actor.GetProperty()
        # Ambient, diffuse and highlight sum to about one, so that white objects keep their shading.
        surface.SetAmbientColor(surface.GetDiffuseColor())
        surface.SetAmbient(0.36)
        surface.SetDiffuse(0.7)
        surface.SetSpecular(0.08)
        surface.SetSpecularColor(1, 1, 1)
        surface.SetSpecularPower(25)
        surface.BackfaceCullingOff()
    return window, renderer


def _light(renderer: Any, camera: Any, azimuth: float, elevation: float, intensity: float) -> None:
    """Light from a direction in degrees relative to the camera."""
    import vtk

    light = vtk.vtkLight()
    light.SetLightTypeToCameraLight()
    light.SetPosition(
        math.sin(math.radians(azimuth)), math.sin(math.radians(elevation)), math.cos(math.radians(azimuth))
    )
    light.SetFocalPoint(0, 0, 0)
    light.SetIntensity(intensity)
    renderer.AddLight(light)


def _pixels(window: Any) -> np.ndarray:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGB()
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].astype(np.float32)


def render_views(model: Path, rotation: Sequence[float], angles: Sequence[tuple[float, float]]) -> list[Image.Image]:
    """RGBA pictures, 384 pixels wide, of an OBJ model (y up, front towards +z) from azimuths and elevations in degrees.

    Transparency is measured instead of asked for: what is seen on black and on white differs by one minus alpha.
    """
    window, renderer = _window(model, rotation)
    renderer.SetUseDepthPeeling(1)
    window.SetAlphaBitPlanes(1)
    renderer.AutomaticLightCreationOff()
    camera = renderer.GetActiveCamera()
    _light(renderer, camera, -40, 45, 0.88)
    _light(renderer, camera, 50, 10, 0.35)
    x0, x1, y0, y1, z0, z1 = renderer.ComputeVisiblePropBounds()
    center = np.array([x0 + x1, y0 + y1, z0 + z1]) / 2
    radius = max(1e-6, math.dist((x0, y0, z0), (x1, y1, z1)) / 2)
    camera.SetViewAngle(28)
    distance = radius / math.sin(math.radians(14))
    pictures = []
    for azimuth, elevation in angles:
        turn, rise = math.radians(azimuth), math.radians(elevation)
        direction = (math.sin(turn) * math.cos(rise), math.sin(rise), math.cos(turn) * math.cos(rise))
        camera.SetFocalPoint(*center)
        camera.SetPosition(*(center + distance * np.array(direction)))
        camera.SetViewUp(0, 1, 0)
        renderer.ResetCameraClippingRange()
        grounds = []
        for level in (0.0, 1.0):
            renderer.SetBackground(level, level, level)
            window.Render()
            grounds.append(_pixels(window))
        black, white = grounds
        alpha = np.clip(1 - (white - black).mean(-1) / 255, 0, 1)
        colour = np.clip(black / np.maximum(alpha, 1 / 255)[..., None], 0, 255)
        rgba = np.dstack([colour, 255 * alpha]).round().astype(np.uint8)
        pictures.append(Image.fromarray(rgba, "RGBA"))
    window.Finalize()
    return pictures
